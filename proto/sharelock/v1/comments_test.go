package sharelockv1

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	protoBlock = regexp.MustCompile(`^(message|enum|service|oneof|rpc) (\w+)`)
	protoField = regexp.MustCompile(`^(?:(?:optional|repeated) )?(?:(?:[\w.]+|map<[\w., ]+>) )?(\w+) = \d+`)
)

// undescribed returns the fields, values and calls of a proto file that have no comment before
// them, each after the name of its message. A message with fields need not have one: its name
// says what it is.
func undescribed(text string) (lacking []string) {
	within, before := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		described := strings.HasPrefix(before, "//")
		before = line
		if block := protoBlock.FindStringSubmatch(line); block != nil {
			switch block[1] {
			case "oneof":
			case "rpc":
				if !described {
					lacking = append(lacking, within+"."+block[2])
				}
			default:
				within = block[2]
			}
			continue
		}
		if field := protoField.FindStringSubmatch(line); field != nil && !described {
			lacking = append(lacking, within+"."+field[1])
		}
	}
	return lacking
}

// Every field, value and call of the API has a comment, which is all that users of other
// languages get.
func TestEveryFieldIsDescribed(t *testing.T) {
	text, err := os.ReadFile("lock.proto")
	if err != nil {
		t.Fatal(err)
	}
	if lacking := undescribed(string(text)); len(lacking) > 0 {
		t.Errorf("without a comment: %s", strings.Join(lacking, ", "))
	}
	const sample = `
service S {
  rpc Bare(A) returns (A);
}
enum E {
  BARE = 0;
}
message M {
  // Described.
  string key = 1;
  map<string, string> bare = 2;
  // Chosen by the caller.
  oneof of {
    repeated x.y.Z inner = 3;
  }
}
`
	if got, want := strings.Join(undescribed(sample), " "), "S.Bare E.BARE M.bare M.inner"; got != want {
		t.Errorf("in the sample %q are without a comment, want %q", got, want)
	}
}
