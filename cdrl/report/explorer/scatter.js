// One of two linked maps, drawn on canvases without any library: 50,000 points stay smooth.
// `cdrl.report.explorer` puts scatter.js and explorer.js together.

const FAR = 10; // pixels: how near the pointer must be to a point
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = "Keys: arrows go from frame to frame, Enter plays the clip, + and - zoom, 0 shows the whole map, Escape lets go.";

function element(parent, tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

const rgb = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));

// One map: its own view (pan, zoom), its points as pixels, and a layer above for what moves.
function scatter(parent, title, note, points, state, handlers) {
  const n = points.length / 2;
  const figure = element(parent, "figure", "cdrl-map");
  element(figure, "h4", "", title);
  const frame = element(figure, "div", "cdrl-frame");
  const below = element(frame, "canvas");
  const above = element(frame, "canvas", "cdrl-above");
  element(figure, "figcaption", "", note);
  below.setAttribute("aria-hidden", "true");
  above.tabIndex = 0;
  above.setAttribute("role", "application");
  above.setAttribute("aria-label", `${title}. A map of ${n} frames. ${note}. ${KEYS}`);
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (let i = 0; i < 2 * n; i++) {
    low[i & 1] = Math.min(low[i & 1], points[i]);
    high[i & 1] = Math.max(high[i & 1], points[i]);
  }
  const view = { zoom: 1, x: 0, y: 0 }; // x, y: shift in units of the frame's size
  const sx = new Float32Array(n), sy = new Float32Array(n);
  const order = Uint32Array.from({ length: n }, (_, k) => k); // mixed, so that no label lies on top of all others
  for (let k = n - 1, random = 1; k > 0; k--) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0; // linear congruential: the same order every time
    const other = random % (k + 1);
    [order[k], order[other]] = [order[other], order[k]];
  }
  let size = 0, ratio = 1, cells = null, lasso = null, dragStart = null;

  // Points in pixels of the frame.
  function project() {
    const span = Math.max(high[0] - low[0], high[1] - low[1]) || 1;
    const scale = (0.92 * size * view.zoom) / span, middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    for (let i = 0; i < n; i++) {
      sx[i] = size / 2 + (points[2 * i] - middle[0]) * scale + view.x * size;
      sy[i] = size / 2 - (points[2 * i + 1] - middle[1]) * scale + view.y * size;
    }
    cells = null;
  }

  function paint() {
    const pixels = below.width, image = new ImageData(pixels, pixels), data = image.data.fill(255);
    const radius = (n > 20000 ? 1.6 : n > 5000 ? 2.2 : 3) * ratio, reach = Math.ceil(radius), steps = [], covers = [];
    for (let y = -reach; y <= reach; y++)
      for (let x = -reach; x <= reach; x++) {
        const cover = Math.min(1, radius + 0.5 - Math.hypot(x, y));
        if (cover > 0) steps.push(4 * (y * pixels + x)), covers.push(0.8 * cover);
      }
    const colours = state.colours(), codes = state.codes(), selection = state.selection, grey = [224, 224, 224];
    // With a selection all other points are painted first, in grey.
    for (let pass = selection ? 0 : 1; pass < 2; pass++)
      for (const i of order) {
        if (selection && selection[i] !== pass) continue;
        const x = Math.round(sx[i] * ratio), y = Math.round(sy[i] * ratio);
        if (x < reach || y < reach || x >= pixels - reach || y >= pixels - reach) continue;
        const colour = pass ? colours[codes[i]] : grey, r = colour[0], g = colour[1], b = colour[2];
        for (let k = 0, middle = 4 * (y * pixels + x); k < steps.length; k++) {
          const byte = middle + steps[k], cover = covers[k];
          data[byte] += (r - data[byte]) * cover;
          data[byte + 1] += (g - data[byte + 1]) * cover;
          data[byte + 2] += (b - data[byte + 2]) * cover;
        }
      }
    below.getContext("2d").putImageData(image, 0, 0);
  }

  const positionOf = (i) => [sx[i], sy[i]];

  function overlay() {
    const pen = above.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, size, size);
    const line = (corners) => {
      pen.beginPath();
      corners.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    };
    const ring = (x, y, radius, colour) => {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.lineWidth = 2.5;
      pen.strokeStyle = colour;
      pen.stroke();
    };
    if (state.path.length > 1) {
      line(state.path.map(positionOf));
      pen.lineWidth = 1;
      pen.strokeStyle = "#0007";
      pen.stroke();
    }
    if (state.pinned >= 0) ring(sx[state.pinned], sy[state.pinned], 8, "#000");
    if (state.playing >= 0) ring(sx[state.playing], sy[state.playing], 5, "#d00");
    if (state.hovered >= 0) ring(sx[state.hovered], sy[state.hovered], 6, "#555");
    if (lasso && lasso.length > 1) {
      line(lasso);
      pen.closePath();
      pen.fillStyle = "#0072b222";
      pen.fill();
      pen.strokeStyle = "#0072b2";
      pen.lineWidth = 1.5;
      pen.stroke();
    }
  }

  // Points sorted into squares of FAR pixels: the nearest is then found among nine of them.
  function sortIntoCells() {
    cells = new Map();
    for (let i = 0; i < n; i++) {
      const key = Math.floor(sx[i] / FAR) * 100000 + Math.floor(sy[i] / FAR);
      const cell = cells.get(key);
      if (cell) cell.push(i);
      else cells.set(key, [i]);
    }
  }

  function nearest(x, y) {
    if (!cells) sortIntoCells();
    let best = -1, least = FAR * FAR;
    for (let a = -1; a < 2; a++)
      for (let b = -1; b < 2; b++)
        for (const i of cells.get((Math.floor(x / FAR) + a) * 100000 + Math.floor(y / FAR) + b) || []) {
          const distance = (sx[i] - x) ** 2 + (sy[i] - y) ** 2;
          if (distance < least && (!state.selection || state.selection[i])) [best, least] = [i, distance];
        }
    return best;
  }

  // A 1 for every point inside a polygon: a ray from it crosses an odd number of edges.
  function inside(corners) {
    const mask = new Uint8Array(n);
    for (let i = 0; i < n; i++)
      for (let k = 0, before = corners.length - 1; k < corners.length; before = k++) {
        const [ax, ay] = corners[k], [bx, by] = corners[before];
        if (ay > sy[i] !== by > sy[i] && sx[i] < ((bx - ax) * (sy[i] - ay)) / (by - ay) + ax) mask[i] ^= 1;
      }
    return mask;
  }

  const pointerOf = (event) => {
    const box = above.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  above.addEventListener("pointerdown", (event) => {
    dragStart = pointerOf(event);
    above.setPointerCapture(event.pointerId);
    lasso = state.panning || event.shiftKey ? null : [dragStart];
  });
  above.addEventListener("pointermove", (event) => {
    const [x, y] = pointerOf(event);
    if (!dragStart) return handlers.hover(nearest(x, y), event);
    if (lasso) {
      lasso.push([x, y]);
      overlay();
    } else {
      view.x += (x - dragStart[0]) / size;
      view.y += (y - dragStart[1]) / size;
      dragStart = [x, y];
      redraw();
    }
  });
  above.addEventListener("pointerup", (event) => {
    const [x, y] = pointerOf(event), corners = lasso;
    const moved = corners && Math.max(...corners.map((c) => Math.hypot(c[0] - dragStart[0], c[1] - dragStart[1])));
    dragStart = lasso = null;
    if (!corners) return;
    if (moved < 4) handlers.click(nearest(x, y));
    else handlers.select(inside(corners));
  });
  above.addEventListener("pointercancel", () => (dragStart = lasso = null));
  above.addEventListener("pointerleave", () => handlers.hover(-1));
  above.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(...pointerOf(event), Math.exp(-event.deltaY / 400));
  }, { passive: false });

  function redraw() {
    project();
    paint();
    overlay();
  }

  // The place under (x, y) stays where it is.
  function zoomAt(x, y, factor) {
    const zoom = Math.min(60, Math.max(0.5, view.zoom * factor)), change = zoom / view.zoom;
    view.x = (x / size - 0.5) * (1 - change) + view.x * change;
    view.y = (y / size - 0.5) * (1 - change) + view.y * change;
    view.zoom = zoom;
    redraw();
  }

  // The nearest frame within 45 degrees of a direction, seen from a frame; -1 where there is none.
  function toward(from, [dx, dy]) {
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      if (state.selection && !state.selection[i]) continue;
      const x = sx[i] - sx[from], y = sy[i] - sy[from];
      const along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
      if (along <= 0 || across > along) continue;
      if (along + 2 * across < least) [best, least] = [i, along + 2 * across];
    }
    return best;
  }

  function middlePoint() {
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      const distance = (sx[i] - size / 2) ** 2 + (sy[i] - size / 2) ** 2;
      if (distance < least && (!state.selection || state.selection[i])) [best, least] = [i, distance];
    }
    return best;
  }

  // Goes to a frame by key: it is shown as if the pointer were on it, and brought into view.
  function goTo(i) {
    if (i < 0) return;
    if (sx[i] < 0 || sy[i] < 0 || sx[i] > size || sy[i] > size) {
      view.x += 0.5 - sx[i] / size;
      view.y += 0.5 - sy[i] / size;
      redraw();
    }
    const box = above.getBoundingClientRect();
    handlers.hover(i, { clientX: box.left + sx[i], clientY: box.top + sy[i], byKey: true });
  }

  function onKey(event) {
    const from = state.hovered >= 0 ? state.hovered : state.pinned;
    if (ARROWS[event.key]) goTo(from < 0 ? middlePoint() : toward(from, ARROWS[event.key]));
    else if ((event.key === "Enter" || event.key === " ") && from >= 0) handlers.click(from);
    else if (event.key === "+" || event.key === "=") zoomAt(size / 2, size / 2, 1.5);
    else if (event.key === "-") zoomAt(size / 2, size / 2, 1 / 1.5);
    else if (event.key === "0") reset();
    else if (event.key === "Escape") handlers.select(null);
    else return;
    event.preventDefault();
  }
  above.addEventListener("keydown", onKey);
  above.addEventListener("blur", () => handlers.hover(-1));

  function fit() {
    const wide = Math.round(frame.clientWidth);
    if (!wide || (wide === size && ratio === (window.devicePixelRatio || 1))) return;
    [size, ratio] = [wide, window.devicePixelRatio || 1];
    for (const canvas of [below, above]) canvas.width = canvas.height = Math.round(size * ratio);
    redraw();
  }
  const watcher = new ResizeObserver(fit);
  watcher.observe(frame);
  const reset = () => {
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    redraw();
  };
  return { paint, overlay, reset, stop: () => watcher.disconnect(), positionOf };
}
