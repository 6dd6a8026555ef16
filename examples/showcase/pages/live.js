// Draws what /api/figures sends: once a second the figures, and the latency of the last minute as a line.
"use strict";
const POINTS = 60, WIDTH = 300, HEIGHT = 60;
const latencies = [];
const show = (id, text) => { document.getElementById(id).textContent = text; };
const source = new EventSource("/api/figures");
source.onmessage = (message) => {
  const figures = JSON.parse(message.data);
  show("mode", figures.mode);
  show("user", figures.live ? figures.live.user : "not counted yet");
  show("demo", figures.live ? figures.live.demo : "not counted yet");
  for (const name of ["leased", "local", "pending", "watched"]) show(name, figures[name]);
  const median = figures.latency ? figures.latency.median_us : 0;
  show("median", figures.latency ? median : "–");
  latencies.push(median);
  if (latencies.length > POINTS) latencies.shift();
  const most = Math.max(...latencies, 1);
  const point = (value, n) => `${(n * WIDTH / (POINTS - 1)).toFixed(1)},${(HEIGHT - 2 - value / most * (HEIGHT - 4)).toFixed(1)}`;
  document.getElementById("line").setAttribute("points", latencies.map(point).join(" "));
};
source.onerror = () => show("mode", "this page’s server does not answer");
