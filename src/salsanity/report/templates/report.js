"use strict";
(() => {
  document.documentElement.classList.add("js");
  const all = (root, what) => [...root.querySelectorAll(what)];
  const picked = (root, end) => root.querySelector(`input[name$="${end}"]:checked`)?.value;
  const number = (v) => (v === null || v === undefined ? "–" : v.toFixed(2).replace("-", "−").replace(/^−(0\.00)$/, "$1"));

  // The maps: choose image and view, walk one method down the network.
  for (const root of all(document, "[data-maps]")) {
    const stage = root.querySelector("[data-stage]");
    const method = root.querySelector("[data-method]");
    const still = root.querySelector("[data-still]");
    const moving = root.querySelector("[data-moving]");
    const readings = JSON.parse(root.querySelector("[data-readings]").textContent);
    const grids = all(root, "[data-grid]");

    const show = (img, cell) => {
      const source = cell.querySelector("img");
      img.hidden = !source;
      img.src = source ? source.src : "data:,";
      img.alt = source ? source.alt : "";
      return Boolean(source);
    };
    const read = (name, image, view, k) => {
      for (const row of all(root, "[data-similarity]")) {
        const line = readings[image]?.[name]?.[view]?.[row.dataset.similarity];
        row.querySelector("[data-now]").textContent = number(line?.[k]?.[0]);
        row.querySelector("[data-chance]").textContent = number(line?.[k]?.[1]);
      }
    };
    const update = () => {
      const image = picked(root, "-image");
      const view = picked(root, "-view");
      const k = Number(stage.value);
      const grid = grids.find((g) => g.dataset.grid === `${image}/${view}`);
      for (const g of grids) g.hidden = g !== grid;
      for (const p of all(root, "[data-photo]")) p.hidden = p.dataset.photo !== image;
      for (const s of all(root, "[data-scale]")) s.hidden = s.dataset.scale !== view;
      const row = grid.tBodies?.[0]?.rows[method.value] ?? grid.querySelector("tbody").rows[method.value];
      const heads = grid.querySelector("thead tr").cells;
      show(still, row.cells[1]);
      const nomap = root.querySelector("[data-nomap]");
      nomap.hidden = show(moving, row.cells[k + 1]);
      nomap.textContent = nomap.hidden ? "" : row.cells[k + 1].textContent.trim();
      const name = heads[k + 1].textContent;
      root.querySelector("[data-state]").textContent = name;
      root.querySelector("[data-position]").textContent = `${k} of ${heads.length - 2}`;
      stage.setAttribute("aria-valuetext", `${name}, ${k} of ${heads.length - 2}`);
      for (const cell of all(grid, ".here, .at")) cell.classList.remove("here", "at");
      row.cells[k + 1].firstElementChild.classList.add("here");
      heads[k + 1].classList.add("at");
      read(method.selectedOptions[0].dataset.name, image, view, k);
    };
    root.addEventListener("input", update);
    root.addEventListener("change", update);
    root.addEventListener("click", (event) => {
      const cell = event.target.closest("[data-grid] tbody td");
      if (!cell) return;
      method.value = cell.parentElement.sectionRowIndex;
      stage.value = cell.cellIndex - 1;
      update();
    });
    update();
  }

  // Curves and bars: choose similarity and view.
  for (const root of all(document, "[data-curves]")) {
    const update = () => {
      const key = `${picked(root, "-curve-similarity")}/${picked(root, "-curve-view")}`;
      for (const part of all(root, "[data-curve]")) part.hidden = part.dataset.curve !== key;
    };
    root.addEventListener("change", update);
    update();
  }

  // Tables that are wider than the page: their edge fades as long as there is more to see.
  const edge = (box) => box.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 4);
  const seen = new ResizeObserver((found) => { for (const one of found) edge(one.target); });
  for (const box of all(document, ".scroll")) {
    seen.observe(box);
    box.addEventListener("scroll", () => edge(box), { passive: true });
  }

  // Terms: the explanation at hand, by pointer, keyboard or touch.
  const tip = document.getElementById("tip");
  let shown = null;
  const hide = () => { tip.hidden = true; shown = null; };
  const explain = (term) => {
    const text = document.getElementById(term.getAttribute("aria-describedby"));
    if (!text) return;
    tip.textContent = text.textContent;
    tip.hidden = false;
    shown = term;
    const at = term.getBoundingClientRect();
    const width = tip.offsetWidth, height = tip.offsetHeight;
    const below = at.bottom + 8 + height < innerHeight;
    tip.style.left = `${Math.max(16, Math.min(at.left, document.documentElement.clientWidth - width - 16))}px`;
    tip.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - height - 8)}px`;
  };
  const termOf = (event) => event.target.closest?.(".term");
  document.addEventListener("pointerover", (e) => { const t = termOf(e); if (t && e.pointerType === "mouse") explain(t); });
  document.addEventListener("pointerout", (e) => { if (termOf(e) && e.pointerType === "mouse" && document.activeElement !== shown) hide(); });
  document.addEventListener("focusin", (e) => { const t = termOf(e); if (t) explain(t); else hide(); });
  document.addEventListener("focusout", (e) => { if (termOf(e)) hide(); });
  document.addEventListener("click", (e) => {
    const t = termOf(e);
    if (t) { e.preventDefault(); explain(t); } else hide();
  });
  document.addEventListener("keydown", (e) => { if (e.key === "Escape") hide(); });
  document.addEventListener("scroll", hide, { passive: true, capture: true });
})();
