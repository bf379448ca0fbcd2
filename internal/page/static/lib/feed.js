// Feed answers one view with what a model makes of the events of a watch. The view asks for a part,
// and is told again when that has changed: only when it has drawn the last answer, and at most ten
// times a second, so that ten thousand events a second cost it as much as ten.

const pause = 100;
const clock = { now: () => performance.now(), after: (ms, f) => setTimeout(f, ms), cancel: (timer) => clearTimeout(timer) };

export class Feed {
  // model has apply(type, event) and view(asked); send sends an answer to the view; a test has a clock
  // of its own.
  constructor(model, send, time = clock) {
    Object.assign(this, { model, send, time, state: "connecting", asked: null, number: 0, last: 0 });
    this.changed = false; // since the last answer
    this.drawn = false; // whether the view has drawn the last answer
    this.timer = null; // set while an answer is planned
  }

  event(type, e) {
    this.model.apply(type, e);
    this.change();
  }

  connection(state) {
    this.state = state;
    this.change();
  }

  // change has the view told that something is different.
  change() {
    this.changed = true;
    if (this.drawn) this.timer ??= this.time.after(Math.max(0, pause - (this.time.now() - this.last)), () => this.#answer());
  }

  // ask is answered at once.
  ask(asked, number) {
    this.asked = asked;
    this.number = number;
    this.#answer();
  }

  // next says that the view has drawn the last answer.
  next() {
    this.drawn = true;
    if (this.changed) this.change();
  }

  #answer() {
    this.time.cancel(this.timer);
    this.timer = null;
    this.changed = this.drawn = false;
    this.last = this.time.now();
    this.send({ state: this.state, number: this.number, ...this.model.view(this.asked) });
  }
}
