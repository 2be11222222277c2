"use strict";
// The list of canaries, and one canary at a time. All text is put into the page
// as text: nothing here makes markup of anything.
(async () => {
  const $ = (id) => document.getElementById(id);
  // What nobody sees (it turns letters around, or makes two names look the same) is shown as what it is.
  const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => c === "\n" || c === "\t" ? c : "\\u" + c.codePointAt(0).toString(16).padStart(4, "0"));
  const el = (name, attributes, ...children) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) if (v !== undefined && v !== false) e.setAttribute(k, v);
    e.append(...children.flat().filter((c) => c instanceof Node || typeof c === "string").map((c) => c instanceof Node ? c : visible(c)));
    return e;
  };
  const unpack = async (script) => {
    const packed = atob(script.textContent.trim().replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  const words = { "pass": ["pass", "✓", "pass"], "fail": ["fail", "✗", "fail"], "late": ["late", "!", "late"], "inconclusive": ["unknown", "?", "inconclusive"], "excepted": ["late", "E", "excepted"], "not-run": ["none", "–", "not run"] };
  const checks = ["injected", "surfaced", "attributed", "timely", "sealed", "immutable", "alerted", "cleaned"];
  const worded = (status) => Object.hasOwn(words, status) ? words[status] : ["none", "–", String(status)];
  const tag = (status) => { const [c, mark, word] = worded(status); return el("span", { class: "tag " + c }, el("span", { "aria-hidden": "true" }, mark), " " + word); };
  const marks = (answers) => {
    const said = answers.map(([check, status]) => check + ": " + worded(status)[2]);
    return el("span", { class: "ks", role: "img", "aria-label": said.join(", ") }, answers.map(([, status], i) => el("span", { class: "k " + worded(status)[0], title: said[i] }, worded(status)[1])));
  };
  const unset = (t) => !t || t.startsWith("0001-");
  const when = (t) => unset(t) ? "–" : t.replace("T", " ").replace(/(\.\d{1,3})\d*/, "$1").replace("Z", " UTC");
  const json = (v) => JSON.stringify(v, null, 2);
  const facts = (...pairs) => el("dl", { class: "facts" }, pairs.filter(([, v]) => v !== undefined && v !== null && v !== "").flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, Array.isArray(v) ? v : String(v))]));
  const id = (text) => text ? [el("span", { class: "id" }, String(text))] : "";
  // A table reads as a table where it is laid out as cards, too.
  const cell = (name, label, ...children) => el(name, { role: name === "th" ? "rowheader" : "cell", scope: name === "th" && "row", "data-label": label || false }, ...children);
  const table = (kind, caption, head, rows) => el("table", { class: "cards " + kind, role: "table" }, el("caption", {}, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head.map((h) => el("th", { scope: "col", role: "columnheader" }, h)))), el("tbody", { role: "rowgroup" }, rows));
  const row = (kind, ...cells) => el("tr", { role: "row", class: kind || false }, cells);
  const folded = (title, text, open) => el("details", open ? { open: "" } : {}, el("summary", {}, title), el("pre", { tabindex: "0" }, text));

  if (!("DecompressionStream" in window)) {
    $("canaries").querySelector(".lead").append(" This browser is too old to open single canaries.");
    return;
  }
  const index = await unpack($("index"));
  const chunks = document.querySelectorAll("script.chunk"), size = Number($("index").dataset.chunk), opened = new Map();
  const whole = async (i) => {
    const n = Math.floor(i / size);
    if (!opened.has(n)) opened.set(n, unpack(chunks[n]));
    return (await opened.get(n))[i % size];
  };
  const at = new Map(index.map((c, i) => [c.id, i]));
  for (const c of index) c.found = [c.id, c.scenario, c.account, c.region, c.category, c.status, c.text].join(" ").toLowerCase();

  // The list.
  const page = 50;
  let shown = index.map((_, i) => i), first = 0, asPrinted = 0;
  const filters = { status: $("f-status"), scenario: $("f-scenario"), account: $("f-account"), category: $("f-category") };
  for (const [field, select] of Object.entries(filters)) {
    const n = new Map();
    for (const c of index) n.set(c[field], (n.get(c[field]) || 0) + 1);
    for (const v of [...n.keys()].sort()) select.append(el("option", { value: v }, (field === "status" ? worded(v)[2] : v) + " (" + n.get(v) + ")"));
  }
  const line = (i) => {
    const c = index[i];
    return row("", cell("th", "", el("button", { type: "button", class: "open", "data-i": i }, c.scenario), el("small", { class: "id" }, c.id)), cell("td", "", tag(c.status)), el("td", { role: "cell", class: "short", "data-label": "Place" }, c.account + " / " + c.region),
      cell("td", "Category", c.category), cell("td", "", marks(c.checks.map((s, k) => [checks[k], s]))), el("td", { role: "cell", class: "num", "data-label": "Arrived after" }, c.after));
  };
  const draw = () => {
    const n = asPrinted || page, part = shown.slice(first, first + n);
    $("rows").replaceChildren(...part.map(line));
    $("count").textContent = (shown.length === index.length ? "All " : shown.length + " of ") + index.length + " canaries";
    $("pages").textContent = shown.length ? first + 1 + "–" + Math.min(shown.length, first + n) : "none";
    $("prev").disabled = first === 0;
    $("next").disabled = first + page >= shown.length;
  };
  const filter = () => {
    const wanted = $("f-text").value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    index.forEach((c, i) => {
      for (const field in filters) if (filters[field].value && filters[field].value !== String(c[field])) return;
      if (wanted.every((w) => c.found.includes(w))) shown.push(i);
    });
    first = 0;
    draw();
  };
  const turn = (by) => { first = Math.max(0, Math.min(first + by, shown.length - 1)); draw(); $("list").scrollIntoView({ block: "nearest" }); };
  $("filters").addEventListener("input", filter);
  $("filters").addEventListener("submit", (e) => e.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(filter));
  $("prev").addEventListener("click", () => turn(-page));
  $("next").addEventListener("click", () => turn(page));
  $("rows").addEventListener("click", (e) => { const b = e.target.closest("button.open"); if (b) open(Number(b.dataset.i)); });

  // One canary.
  const dialog = $("detail");
  let current = -1;
  const open = async (i) => {
    current = i;
    const c = await whole(i), place = shown.indexOf(i);
    if (current !== i) return; // somebody was faster
    $("where").textContent = place < 0 ? "" : place + 1 + " of " + shown.length;
    $("before").disabled = place <= 0;
    $("after").disabled = place < 0 || place + 1 >= shown.length;
    $("body").replaceChildren(...detail(c));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    $("body").focus({ preventScroll: true });
    history.replaceState(null, "", "#c-" + encodeURIComponent(c.id));
  };
  const step = (by) => { const next = shown[shown.indexOf(current) + by]; if (shown.includes(current) && next !== undefined) open(next); };
  $("before").addEventListener("click", () => step(-1));
  $("after").addEventListener("click", () => step(1));
  $("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => history.replaceState(null, "", "#canaries"));
  const follow = () => {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; } // not a name of ours
    if (name.startsWith("c-") && at.has(name.slice(2))) open(at.get(name.slice(2)));
  };
  addEventListener("hashchange", follow);
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (dialog.open && !e.target.closest("pre, table") && (e.key === "ArrowLeft" || e.key === "ArrowRight")) step(e.key === "ArrowLeft" ? -1 : 1);
    if (!dialog.open && e.key === "/" && !e.target.closest("input, select, textarea")) { e.preventDefault(); $("f-text").focus(); $("filters").scrollIntoView({ block: "center" }); }
  });

  const detail = (c) => [
    el("h2", { id: "detail-h" }, c.scenario), el("p", { class: "soft" }, c.title), el("p", {}, tag(c.status), c.open ? " Something is still awaited." : "", c.latest ? "" : " A later canary asked the same again."),
    facts(["Canary", id(c.id)], ["Run", id(c.run)], ["Place", c.account + " / " + c.region], ["Category", c.category_title], ["Kind", c.kind], ["Planned", when(c.at)], ["Requirements", c.controls.join(", ")], ["Scenario", id(c.scenario_hash && "SHA-256 " + c.scenario_hash)], ["Not run", c.not_run], ["Not begun", c.blocked]),
    el("h3", {}, "Checks"),
    table("", c.judged ? "What the last verdict says." : "Nobody has looked yet: this is what is known without looking.", ["Check", "Answer", "Why"], c.checks.map((k) => row("", el("th", { role: "rowheader", scope: "row", class: "short" }, k.check), cell("td", "", tag(k.status)), cell("td", "",
      (k.detail || "") + (k.hop ? " Lost on: " + k.hop + "." : "") + (k.step ? " (step " + k.step + ")" : "") + (k.latency_seconds !== undefined ? " After " + k.latency_seconds + " s." : "") + (k.open ? " Still open." : ""),
      k.evidence && el("ul", { class: "evidence" }, k.evidence.map((x) => el("li", {}, x.source + (unset(x.asked) ? "" : ", asked " + when(x.asked)) + ": " + x.found + (x.event_id ? "; event " + x.event_id : "") + (x.object ? "; " + x.object : "")))))))),
    c.steps.flatMap(steps),
    el("h3", {}, "Cleaning up"),
    facts(["Listed", unset(c.cleanup.listed) ? "the account was not listed afterwards" : when(c.cleanup.listed)], ["Left", (c.cleanup.left || []).join(", ") || (unset(c.cleanup.listed) ? "" : "nothing")], ["Could not list", c.cleanup.error], ["Undo owed", c.owed.join(", ")]),
    el("h3", {}, "Verdicts"),
    c.history.length ? table("", "Every one that was given, oldest first; the last one counts, and all stand in the ledger.", ["", "As of", "Status", "Checks"], c.history.map((v, n) => row("", cell("th", "", String(n + 1)), cell("td", "As of", when(v.as_of)), cell("td", "", tag(v.status)), cell("td", "", marks(checks.map((k) => [k, v.checks[k] || "not-run"]))))))
      : el("p", {}, "None was given yet."),
    folded("Everything of this canary as JSON", json(c)),
  ].flat();

  const steps = (s) => {
    const r = s.receipt, out = [el("h3", {}, "Step " + s.id + ": " + s.operation)];
    out.push(r ? facts(["Sent to", s.region], ["Sent", when(r.started)], ["Answered", when(r.ended)], ["Outcome", r.outcome.result + (r.outcome.code ? ": " + r.outcome.code : "") + (r.outcome.message ? " – " + r.outcome.message : "")], ["Request", id(r.request_ids.join(", "))], ["Attempt", r.attempt > 1 ? r.attempt : ""])
      : el("p", {}, "No receipt: it was not made, or the process died before it was answered."));
    if (!s.records.length) out.push(el("p", {}, el("b", {}, "No record of it was found in the log store.")));
    s.records.forEach((rec, n) => out.push(...record(rec, n, s.records.length)));
    out.push(el("div", { class: "raws" }, r && folded("What was done: the receipt", json(r)), s.records.map((rec, n) => rec.raw && folded("What the store says: record" + (s.records.length > 1 ? " " + (n + 1) : "") + ", indented", indented(rec.raw)))));
    for (const rec of s.records) if (rec.raw || rec.raw_base64) out.push(folded("Record " + rec.event_id + ", as it stands in the store" + (rec.raw ? "" : " (base64)"), rec.raw || rec.raw_base64));
    if (s.no_undo) out.push(facts(["No undo", s.no_undo]));
    if (s.undo.length) out.push(table("", "Undo", ["Call", "Outcome", "Answered"], s.undo.map((u) => row("", cell("th", "", u.call.operation), cell("td", "Outcome", u.outcome.result + (u.outcome.code ? ": " + u.outcome.code : "")), cell("td", "Answered", when(u.ended))))));
    return out;
  };
  // Reading indents, which may drop what JSON allows twice; the bytes are beside it.
  const indented = (raw) => { try { return json(JSON.parse(raw)); } catch { return raw; } };
  const states = { "same": ["", "✓ same"], "differs": ["fail", "✗ differs"], "explained": ["late", "~ explained"], "not-compared": ["quietly", "not compared"] };
  const record = (rec, n, of) => {
    const a = rec.at, k = rec.custody;
    return [
      n > 0 && el("h4", {}, "Another record of it (" + (n + 1) + " of " + of + ")"),
      rec.unreadable && el("p", {}, el("b", {}, "It cannot be read: " + rec.unreadable)),
      rec.fields.length > 0 && table("sides", "Ground truth and record, field by field.", ["Field", "What was done", "What the store says", "Comparison"], rec.fields.map((f) => {
        const [kind, word] = Object.hasOwn(states, f.state) ? states[f.state] : ["", f.state];
        return row(kind, cell("th", "", f.name.split(/(?<=\.)/).flatMap((part) => [part, el("wbr", {})])), cell("td", "Done", f.expected || "–"), cell("td", "Store", f.found || "–"), cell("td", "Comparison", word, f.rule ? el("small", {}, f.rule) : ""));
      })),
      el("h4", {}, "Where it stands"),
      facts(["Event", id(rec.event_id)], ["Request", id(rec.request_id)], ["Store", a.store], ["Bucket", a.bucket], ["Key", id(a.key)], ["Version", id(a.version_id)], ["In the object", a.length ? "bytes " + a.offset + " to " + (a.offset + a.length - 1) + " of it, uncompressed" : ""], ["Object", id(a.object_sha256 && "SHA-256 " + a.object_sha256 + " (uncompressed)")], ["Arrived", when(rec.stored)]),
      el("h4", {}, "Custody"),
      k ? custody(k) : el("p", { class: "soft" }, "Nobody has looked how the record is kept."),
    ].filter(Boolean);
  };
  const custody = (k) => {
    const s = k.seal, h = k.held, b = h.bucket, key = h.key;
    return facts(["Looked", when(k.looked)], ["Digest", id(s.digest)], ["It signs for", id(s.log_sha256 && "SHA-256 " + s.log_sha256)], ["Backfill", s.backfill ? "yes: the digest came after the fact" : ""], ["Chain verified to", id(s.head)], ["Covered without it", unset(s.covered) ? "" : when(s.covered)], ["Broken", s.broken], ["Not known", s.unknown],
      ["Object", h.gone ? "this version is not there any more" : ""], ["Retention", h.mode ? h.mode + " until " + when(h.until) : "none"], ["Demanded", k.required.mode ? k.required.mode + " for " + k.required.days + " days" : "none"], ["Holds", [h.legal_hold && "legal", h.event_hold && "event"].filter(Boolean).join(", ")],
      ["Bucket", "versioning " + (b.versioning || "off") + (b.default_mode ? ", new objects " + b.default_mode + " for " + b.default_days + " days" : ", no default retention")], ["Expiring", (b.expiring || []).map((e) => e.rule + " after " + e.days + " days").join(", ")],
      ["Key", key ? key.arn + ", " + key.state + ", " + key.origin + (unset(key.deletion) ? "" : ", deleted " + when(key.deletion)) : ""], ["Could not be read", (h.unread || []).join("; ")]);
  };

  // Paper has no pages to turn. What the reader unfolded is printed so.
  addEventListener("beforeprint", () => { asPrinted = Number($("index").dataset.rows); draw(); });
  addEventListener("afterprint", () => { asPrinted = 0; draw(); });

  for (const hidden of ["filters", "result", "keys"]) $(hidden).hidden = false;
  draw();
  follow();
  document.documentElement.dataset.ready = "yes";
  performance.mark("ready");
})();
