// The form of a rule in the admin: inputs above the JSON that is saved. Each edits the other.

import { make } from "./dom.js";
import { Rest } from "./rest.js";
import { RuleForm } from "./rule-form.js";

const INVALID = "This is not a JSON object. Mend it, or paste another one, to see its fields here.";
const PROBLEM = /^([a-z_]+(?:\[\d+\]|\.[a-z_]+)*): (.+)$/s; // as the server says it below the JSON

const textarea = document.querySelector("textarea#id_definition"); // absent where it may only be read
const views = document.querySelector("[data-rule-views]");

if (textarea !== null && views !== null) enhance(textarea);

function enhance(json) {
  const rest = new Rest({
    root: views.dataset.ruleViews,
    credential: { headers: {} },
    csrf: {
      header: views.dataset.csrfHeader,
      token: document.querySelector("[name=csrfmiddlewaretoken]").value,
    },
  });
  const name = document.getElementById("id_name");
  const owner = document.getElementById("id_owner");
  const whole = (rule) => ({ ...rule, name: name?.value ?? "" });
  const form = new RuleForm({
    named: false,
    preview: (rule) => rest.post("preview/", whole(rule)),
    dryRun: (rule, past) => rest.post("dry-run/", { ...whole(rule), past }),
    destinations: () => (owner?.value ? rest.get("destinations/", { owner: owner.value }) : []),
    changed: (rule) => {
      json.value = JSON.stringify(rule, null, 2);
    },
  });
  const note = make("p", { class: "errornote", role: "alert", text: INVALID, hidden: true });
  const details = make("details", { class: "rule-json" }, make("summary", { text: "As JSON" }));
  const read = () => {
    const rule = ruleOf(json.value);
    note.hidden = rule !== null;
    form.element.inert = rule === null;
    details.open ||= rule === null;
    if (rule !== null) form.show(rule);
  };
  json.before(make("div", { class: "rule-editor" }, form.element, note, details));
  details.append(json);
  json.addEventListener("input", read);
  read();
  // By jQuery, since the window in which an owner is chosen tells nobody else.
  if (owner !== null) globalThis.django.jQuery(owner).on("change", () => form.showDestinations());
  showProblems(form, json.closest(".form-row, .field-definition"));
}

function ruleOf(text) {
  try {
    const rule = JSON.parse(text);
    return typeof rule === "object" && !Array.isArray(rule) ? rule : null;
  } catch {
    return null;
  }
}

/** What the server has refused is shown at its field as well. */
function showProblems(form, row) {
  const problems = {};
  for (const { textContent } of row?.querySelectorAll(".errorlist li") ?? []) {
    const [, path, reason] = textContent.trim().match(PROBLEM) ?? [];
    if (path !== undefined) problems[path] = [reason];
  }
  if (Object.keys(problems).length > 0) form.showError({ problems });
}
