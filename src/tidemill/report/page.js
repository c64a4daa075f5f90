// Figures are drawn when they come near the window, so that a report with hundreds of them opens at once.
const night = matchMedia("(prefers-color-scheme: dark)");
const templates = JSON.parse(document.getElementById("templates").textContent);
const drawn = new Set();

function draw(place) {
  const { data, layout } = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  layout.template = night.matches ? templates.dark : templates.light;
  drawn.add(place);
  Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
}

const watch = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting && !drawn.has(target)) draw(target);
  }
}, { rootMargin: "600px" });

const places = document.querySelectorAll(".figure");
places.forEach((place) => watch.observe(place));
night.addEventListener("change", () => drawn.forEach(draw));
addEventListener("beforeprint", () => places.forEach((place) => drawn.has(place) || draw(place)));
