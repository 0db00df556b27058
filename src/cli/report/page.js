"use strict";
// The page is complete without this. It sorts and filters tables, and copies edits.
const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const status = element("span", "");
  status.setAttribute("role", "status");
  status.className = "soft";
  for (const [column, head] of heads.entries()) {
    if (head.classList.contains("plain")) continue;
    const button = element("button", head.textContent);
    button.type = "button";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const was = head.getAttribute("aria-sort");
      const order = was ? (was === "descending" ? "ascending" : "descending") : numeric ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const key = (row) => {
        const cell = row.cells[column];
        return Number(cell.dataset.order ?? (numeric ? cell.textContent : NaN));
      };
      const compare = (a, b) =>
        Number.isNaN(key(a))
          ? a.cells[column].textContent.localeCompare(b.cells[column].textContent)
          : key(a) - key(b);
      const rows = [...table.tBodies[0].rows].sort(compare);
      table.tBodies[0].append(...(order === "ascending" ? rows : rows.reverse()));
    });
  }
  const tools = document.getElementById(table.dataset.tools);
  if (!tools) continue;
  const label = element("label", "Filter: ");
  const input = element("input", "");
  input.type = "search";
  input.placeholder = "a part of a name";
  label.append(input);
  tools.append(label, status);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    status.textContent = wanted ? `${shown} of ${table.tBodies[0].rows.length} shown` : "";
  });
}

for (const edit of document.querySelectorAll(".edit")) {
  const button = element("button", "Copy");
  button.type = "button";
  edit.append(button);
  button.addEventListener("click", async () => {
    const text = edit.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
  });
}

const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
};
addEventListener("hashchange", open);
open();
