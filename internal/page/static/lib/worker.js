// The worker of a view that follows events: it reads the stream and keeps what the view may ask for,
// so that the page's own thread has only the rows in sight.
import { watch } from "./api.js";
import { Changes, EventLog } from "./eventlog.js";
import { Feed } from "./feed.js";
import { KeyTable } from "./keytable.js";

const models = { keys: KeyTable, log: EventLog, changes: Changes };
let feed;

onmessage = ({ data }) => {
  switch (data.what) {
    case "open": {
      const model = new models[data.model]();
      feed = new Feed(model, (answer) => postMessage(answer));
      watch(data.query, (type, e) => feed.event(type, e), (state) => feed.connection(state));
      if (model.period) setInterval(() => feed.change(), model.period);
      break;
    }
    case "ask": feed.ask(data.asked, data.number); break;
    case "next": feed.next(); break;
  }
};
