// What is wrong with a page for those who do not see it as its author does.
(() => {
  const faults = [], all = (selector) => [...document.querySelectorAll(selector)];
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
  if (!document.documentElement.lang) faults.push("no lang");
  for (const [selector, n] of [["main", 1], ["h1", 1], ["nav[aria-label]", 1], ["body > header", 1], ["body > footer", 1]])
    if (all(selector).length !== n) faults.push(all(selector).length + " " + selector);
  let level = 1;
  for (const h of all("h1,h2,h3,h4")) {
    const l = Number(h.tagName[1]);
    if (l > level + 1) faults.push("h" + l + " after h" + level + ": " + h.textContent);
    level = l;
  }
  const ids = new Set();
  for (const e of all("[id]")) { if (ids.has(e.id)) faults.push("twice: " + e.id); ids.add(e.id); }
  for (const t of all("table")) {
    const name = (t.caption || t).textContent.trim().slice(0, 40);
    if (!t.caption || !t.caption.textContent.trim()) faults.push("no caption: " + name);
    if (!t.tHead || [...t.tHead.querySelectorAll("th")].some((h) => h.scope !== "col")) faults.push("no scope of columns: " + name);
    for (const r of t.tBodies[0].rows) if (!r.querySelector("th[scope=row]")) { faults.push("no head of a row: " + name); break; }
    for (const r of t.tBodies[0].rows) if (t.tHead && r.cells.length !== t.tHead.rows[0].cells.length) { faults.push(r.cells.length + " cells: " + name); break; }
  }
  for (const e of all("input, select, button, a, summary"))
    if (!(e.textContent.trim() && !e.matches("select") || e.labels && e.labels.length || e.ariaLabel)) faults.push("no label: " + e.outerHTML.slice(0, 60));
  for (const e of all("svg")) if (e.getAttribute("aria-hidden") !== "true" && !(e.getAttribute("role") === "img" && e.getAttribute("aria-label"))) faults.push("svg without a text");
  for (const e of all("a[href^='#']")) if (!document.getElementById(decodeURIComponent(e.hash.slice(1))) && !e.hash.startsWith("#c-")) faults.push("a link to nowhere: " + e.hash);
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than its window: " + document.documentElement.scrollWidth);
  for (const e of all("body *")) {
    if (!seen(e)) continue;
    const style = getComputedStyle(e);
    if (e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(style.overflowX) && e.tabIndex < 0 && !e.querySelector("a, button")) faults.push("scrolled by nobody without a mouse: " + e.className);
    if (e.closest("section, dialog") && !e.closest(".scroll, svg, pre, nav, .quiet, thead, option") && e.getBoundingClientRect().right > innerWidth + 1) faults.push("stands out to the right: " + e.tagName + " " + e.textContent.slice(0, 40));
  }

  // Contrast, by WCAG 2: 4.5 for every text that is shown, on every colour behind it.
  const colours = (css) => [...css.matchAll(/rgba?\(([^)]*)\)|color\(srgb ([^)]*)\)/g)].map((m) => {
    const n = (m[1] || m[2]).split(/[\s,/]+/).map(Number);
    return [...n.slice(0, 3).map((v) => m[1] ? v / 255 : v), n.length > 3 ? n[3] : 1];
  });
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const light = (c) => { const [r, g, b] = c.map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => {
    if (!e) return [matchMedia("(prefers-color-scheme: dark)").matches ? [0.07, 0.07, 0.07, 1] : [1, 1, 1, 1]];
    const style = getComputedStyle(e), top = [...colours(style.backgroundColor), ...(style.backgroundImage === "none" ? [] : colours(style.backgroundImage))].filter((c) => c[3] > 0);
    if (top.some((c) => c[3] === 1)) return top.filter((c) => c[3] === 1);
    return top.length ? behind(e.parentElement).flatMap((under) => top.map((c) => over(c, under))) : behind(e.parentElement);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), told = new Set();
  for (let n; n = texts.nextNode();) {
    const e = n.parentElement;
    if (!n.data.trim() || e.closest("script, noscript, option, :disabled, title") || !seen(e)) continue;
    const style = getComputedStyle(e), [front] = colours(e.namespaceURI.endsWith("svg") ? style.fill : style.color);
    for (const back of behind(e)) {
      const [a, b] = [light(over(front, back)), light(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5 && !told.has(e.className + ratio)) { told.add(e.className + ratio); faults.push("contrast " + ratio.toFixed(2) + ": \"" + n.data.trim().slice(0, 40) + "\""); }
    }
  }
  return faults;
})()
