// A rotating scatter of crystals in shape space, on a canvas. Drag or use the arrow keys to turn,
// the wheel or + and - to zoom, the buttons to hide groups. Without it, the still figure is shown.
"use strict";
(function () {
  const root = document.getElementById("shape-space");
  const canvas = root && root.querySelector("canvas");
  const context = canvas && canvas.getContext("2d");
  if (!context) return;
  const bytes = Uint8Array.from(atob(canvas.dataset.points), (c) => c.charCodeAt(0));
  const words = new DataView(bytes.buffer);
  const count = Math.floor(bytes.length / 8);
  const colours = JSON.parse(canvas.dataset.colours);
  const axes = JSON.parse(canvas.dataset.axes);
  const points = [];
  for (let i = 0; i < count; i++) {
    const at = [0, 1, 2].map((k) => words.getUint16(8 * i + 2 * k, true) / 65535 - 0.5);
    points.push({ at: at, group: words.getUint16(8 * i + 6, true), x: 0, y: 0, z: 0 });
  }
  const hidden = new Set();
  let azimuth = -1.01, height = 0.35, zoom = 1, frame = 0, width = 0, tall = 0;

  function project(p) {
    const sa = Math.sin(azimuth), ca = Math.cos(azimuth);
    const sh = Math.sin(height), ch = Math.cos(height);
    const scale = 0.62 * zoom * Math.min(width, tall);
    const x = -sa * p[0] + ca * p[1];
    const y = -sh * ca * p[0] - sh * sa * p[1] + ch * p[2];
    const z = ch * ca * p[0] + ch * sa * p[1] + sh * p[2];
    return [width / 2 + scale * x, tall / 2 - scale * y, z];
  }

  function line(a, b) {
    context.beginPath();
    context.moveTo(a[0], a[1]);
    context.lineTo(b[0], b[1]);
    context.stroke();
  }

  // The edge along an axis that lies at the outline: lowest on the page, for d the leftmost.
  function edge(axis) {
    const others = [0, 1, 2].filter((k) => k !== axis);
    let best = Infinity, found = null;
    for (const a of [-0.5, 0.5]) for (const b of [-0.5, 0.5]) {
      const p = [0, 0, 0];
      p[others[0]] = a;
      p[others[1]] = b;
      const q = project(p);
      const score = axis === 2 ? q[0] : -q[1];
      if (score < best - 1e-6) { best = score; found = p; }
    }
    return found;
  }

  function drawBox(ink, faint) {
    const corners = [];
    for (let i = 0; i < 8; i++) {
      corners.push(project([(i & 4 ? 1 : 0) - 0.5, (i & 2 ? 1 : 0) - 0.5, (i & 1) - 0.5]));
    }
    const nearest = corners.reduce((n, c, i) => (c[2] > corners[n][2] ? i : n), 0);
    context.strokeStyle = faint;
    context.lineWidth = 1;
    for (let i = 0; i < 8; i++) for (const bit of [4, 2, 1]) {
      const j = i | bit;
      if (j !== i && nearest !== i && nearest !== j) line(corners[i], corners[j]);
    }
    context.fillStyle = ink;
    context.strokeStyle = ink;
    context.textAlign = "center";
    context.textBaseline = "middle";
    axes.forEach(function (axis, k) {
      const base = edge(k), low = base.slice(), high = base.slice();
      low[k] = -0.5;
      high[k] = 0.5;
      const a = project(low), b = project(high);
      line(a, b);
      const length = Math.hypot((a[0] + b[0]) / 2 - width / 2, (a[1] + b[1]) / 2 - tall / 2) || 1;
      const ox = ((a[0] + b[0]) / 2 - width / 2) / length;
      const oy = ((a[1] + b[1]) / 2 - tall / 2) / length;
      context.font = "12px system-ui, sans-serif";
      axis.ticks.forEach(function (tick) {
        const x = a[0] + tick[0] * (b[0] - a[0]), y = a[1] + tick[0] * (b[1] - a[1]);
        line([x, y], [x + 5 * ox, y + 5 * oy]);
        context.fillText(tick[1], x + 16 * ox, y + 16 * oy);
      });
      context.font = "14px system-ui, sans-serif";
      context.fillText(axis.name, (a[0] + b[0]) / 2 + 44 * ox, (a[1] + b[1]) / 2 + 36 * oy);
    });
  }

  function draw() {
    frame = 0;
    const ratio = window.devicePixelRatio || 1;
    width = canvas.clientWidth;
    tall = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(tall * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(root);
    drawBox(style.getPropertyValue("--ink"), style.getPropertyValue("--line"));
    for (const p of points) [p.x, p.y, p.z] = project(p.at);
    points.sort((a, b) => a.z - b.z);
    const size = 2.4 * Math.sqrt(zoom);
    for (const p of points) {
      if (hidden.has(p.group)) continue;
      context.globalAlpha = 0.55 + 0.4 * (p.z + 0.9) / 1.8;
      context.fillStyle = colours[p.group];
      context.beginPath();
      context.arc(p.x, p.y, size, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  function ask() {
    if (!frame) frame = requestAnimationFrame(draw);
  }
  function turn(dx, dy) {
    azimuth -= 0.008 * dx;
    height = Math.max(-1.5, Math.min(1.5, height + 0.008 * dy));
    ask();
  }
  function closer(factor) {
    zoom = Math.max(0.5, Math.min(8, zoom * factor));
    ask();
  }

  let last = null;
  canvas.addEventListener("pointerdown", function (e) {
    last = [e.clientX, e.clientY];
    canvas.setPointerCapture(e.pointerId);
  });
  canvas.addEventListener("pointermove", function (e) {
    if (!last) return;
    turn(e.clientX - last[0], e.clientY - last[1]);
    last = [e.clientX, e.clientY];
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, function () { last = null; });
  }
  // Only with a key held: a page must go on scrolling over a figure.
  canvas.addEventListener("wheel", function (e) {
    if (!e.ctrlKey && !e.shiftKey) return;
    e.preventDefault();
    closer(e.deltaY + e.deltaX < 0 ? 1.15 : 1 / 1.15);
  }, { passive: false });
  canvas.addEventListener("keydown", function (e) {
    const step = { ArrowLeft: [-12, 0], ArrowRight: [12, 0], ArrowUp: [0, -12], ArrowDown: [0, 12] };
    if (step[e.key]) turn(step[e.key][0], step[e.key][1]);
    else if (e.key === "+" || e.key === "=") closer(1.2);
    else if (e.key === "-") closer(1 / 1.2);
    else return;
    e.preventDefault();
  });
  for (const button of root.querySelectorAll("button[data-group]")) {
    button.addEventListener("click", function () {
      const group = Number(button.dataset.group);
      if (hidden.has(group)) hidden.delete(group);
      else hidden.add(group);
      button.setAttribute("aria-pressed", String(!hidden.has(group)));
      ask();
    });
  }
  root.hidden = false;
  new ResizeObserver(ask).observe(canvas);
  window.matchMedia("(prefers-color-scheme:dark)").addEventListener("change", ask);
  draw();
})();
