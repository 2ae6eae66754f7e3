// A session whose methods return what they make the page do.
import { Session } from "../../realtime/static/realtime/client/session.js";

export function recorded(options) {
  const session = new Session(options);
  return new Proxy(session, {
    get(_, name) {
      const member = session[name];
      if (typeof member !== "function") return member;
      return (...args) => {
        const id = member.apply(session, args);
        return Object.assign(session.effects.splice(0), { id });
      };
    },
  });
}
