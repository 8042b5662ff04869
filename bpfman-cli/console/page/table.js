// A table that sorts by its columns and is filtered by `/`. Rows that stay keep their elements and their focus.

import { copyButton, el, plain, prose, reconcile, setText } from "./dom.js";

// A column: title, value(row) to sort and filter by; optionally text(row), link(row), number: true, tone(row),
// long: true, brief: true for one line, copy(row), which is longer than the text.
export class DataTable {
  constructor({ label, columns, key, sort, descending, most = 500, filterLabel, empty = "There are none." }) {
    Object.assign(this, { label, columns, key, most, empty, sorted: sort ?? 0, descending: descending ?? false, rows: [] });
    this.filter = el("input", { type: "search", "aria-label": filterLabel ?? `Filter: ${label}`, placeholder: "Filter (press /)", input: () => this.draw() });
    this.shown = el("span", { class: "soft", role: "status" });
    this.head = el("tr", null, columns.map((column, index) => el("th", { scope: "col", class: column.number ? "number" : undefined },
      el("button", { type: "button", click: () => this.sortBy(index) }, column.title))));
    this.body = el("tbody");
    this.element = el("div", null,
      el("div", { class: "tools" }, this.filter, this.shown),
      el("div", { class: "scroll" }, el("table", { "aria-label": label, role: "table" }, el("thead", null, this.head), this.body)));
  }

  sortBy(index) {
    this.descending = this.sorted === index ? !this.descending : Boolean(this.columns[index].number);
    this.sorted = index;
    this.draw();
  }

  set(rows) {
    this.rows = rows;
    this.draw();
  }

  text(column, row) {
    const value = column.text ? column.text(row) : column.value(row);
    return value === null || value === undefined ? "" : plain(value);
  }

  draw() {
    const wanted = this.filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (row) => {
      const all = this.columns.map((column) => this.text(column, row)).join("\n").toLowerCase();
      return wanted.every((word) => all.includes(word));
    };
    const found = wanted.length ? this.rows.filter(matches) : [...this.rows];
    const value = this.columns[this.sorted].value;
    const turn = this.descending ? -1 : 1;
    found.sort((left, right) => turn * compare(value(left), value(right)));
    [...this.head.children].forEach((cell, index) => {
      if (index === this.sorted) cell.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const drawn = found.slice(0, this.most);
    reconcile(this.body, drawn, this.key, () => this.make(), (element, row) => this.fill(element, row));
    const of = found.length === this.rows.length ? "" : ` of ${this.rows.length}`;
    const more = drawn.length < found.length ? `, the first ${drawn.length} are shown` : "";
    if (this.rows.length) setText(this.shown, `${found.length}${of}${more}`);
    else if (this.shown.dataset.empty !== this.empty) this.shown.replaceChildren(...prose(this.empty));
    this.shown.dataset.empty = this.rows.length ? "" : this.empty;
  }

  make() {
    // Set roles explicitly: on narrow screens, rows are styled as cards and would lose their roles.
    return el("tr", { role: "row" }, this.columns.map((column, index) => {
      const inner = column.link ? el("a") : el("bdi");
      const cell = el(index === 0 ? "th" : "td", { scope: index === 0 ? "row" : undefined, role: index === 0 ? "rowheader" : "cell", "data-title": column.title,
        class: column.number ? "number" : column.long ? "long" : column.brief ? "brief" : undefined }, inner);
      if (column.copy) cell.append(" ", copyButton(() => cell.copied));
      return cell;
    }));
  }

  fill(element, row) {
    this.columns.forEach((column, index) => {
      const inner = element.children[index].firstElementChild;
      setText(inner, this.text(column, row));
      const link = column.link?.(row);
      if (link && inner.getAttribute("href") !== link) inner.setAttribute("href", link);
      else if (!link && column.link) inner.removeAttribute("href");
      const cell = element.children[index];
      cell.classList.toggle("blank", inner.textContent === "");
      if (column.copy) {
        cell.copied = column.copy(row);
        cell.lastElementChild.hidden = !cell.copied;
      }
      const tone = column.tone?.(row) ?? "";
      if (inner.className !== tone) inner.className = tone;
    });
  }
}

function compare(left, right) {
  const empty = (value) => value === null || value === undefined || value === "";
  if (empty(left) || empty(right)) return empty(left) - empty(right);
  return typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right), "en", { numeric: true });
}
