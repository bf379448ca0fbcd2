package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// panel is what matters of a panel of a dashboard.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ RefID, Expr, LegendFormat string }
}

// The panels of the dashboard have ids of their own, do not overlap, say what they show, and show
// only series of the chosen mesh.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(root + "/deploy/grafana/sharelock.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID, Title string
		Panels     []panel
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || dashboard.Title == "" || len(dashboard.Panels) < 20 {
		t.Errorf("%q has %d panels", dashboard.Title, len(dashboard.Panels))
	}
	type cell struct{ x, y int }
	ids, taken := map[int]string{}, map[cell]string{}
	selects := regexp.MustCompile(`\bsharelock[_:][a-z0-9_:]+(\{job="\$job")?`)
	for _, p := range dashboard.Panels {
		if other, used := ids[p.ID]; used {
			t.Errorf("%q and %q have the id %d", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := cell{p.GridPos.X + x, p.GridPos.Y + y}
				if other, used := taken[at]; used || at.x >= 24 {
					t.Fatalf("%q is in the place of %q, or outside", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("%q says nothing, or shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, m := range selects.FindAllStringSubmatch(target.Expr, -1) {
				if m[1] == "" {
					t.Errorf("%q shows %s of all meshes: %s", p.Title, m[0], target.Expr)
				}
			}
		}
	}
}

var (
	alertName = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
	alertHead = regexp.MustCompile(`(?m)^## (\w+)$`)
	recorded  = regexp.MustCompile(`(?m)^ +- record: (\S+)$`)
	uses      = regexp.MustCompile(`\bsharelock:[a-z0-9_:]+`)
)

// Every alert has its place in docs/alerts.md, which its annotation names, and the reverse; every
// rule that is used exists.
func TestRules(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(root + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	rules, page := read("deploy/prometheus/rules.yaml"), read("docs/alerts.md")
	alerts, heads, records := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, m := range alertHead.FindAllStringSubmatch(page, -1) {
		heads[m[1]] = true
	}
	for _, m := range alertName.FindAllStringSubmatch(rules, -1) {
		alerts[m[1]] = true
		if !heads[m[1]] || !strings.Contains(rules, "/docs/alerts.md#"+strings.ToLower(m[1])+"\n") {
			t.Errorf("%s has no place in docs/alerts.md, or does not name it", m[1])
		}
	}
	for name := range heads {
		if !alerts[name] {
			t.Errorf("docs/alerts.md describes %s, which is no alert", name)
		}
	}
	for _, m := range recorded.FindAllStringSubmatch(rules, -1) {
		records[m[1]] = true
	}
	for _, name := range uses.FindAllString(rules+read("deploy/grafana/sharelock.json")+page, -1) {
		if !records[name] {
			t.Errorf("%s is used and not recorded", name)
		}
	}
	if len(alerts) < 15 || len(records) < 5 {
		t.Errorf("found %d alerts and %d records", len(alerts), len(records))
	}
	for _, name := range alertNames(read("deploy/prometheus/tests.yaml")) {
		if !alerts[name] {
			t.Errorf("the tests of the rules name %s, which is no alert", name)
		}
	}
}

// alertNames returns the alerts that the tests of the rules name.
func alertNames(text string) (list []string) {
	for _, m := range regexp.MustCompile(`alertname: (\w+)`).FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}
