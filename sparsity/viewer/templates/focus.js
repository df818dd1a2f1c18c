// One focus for all networks: they have the same units at the same places.

const records = JSON.parse(document.getElementById("data").textContent);
const networks = [...document.querySelectorAll(".network")].map((section, place) => new Network(section, records[place]));
let focus = -1, isHeld = false;

function setFocus(dot, held) {
  [focus, isHeld] = [dot, held && dot >= 0];
  for (const network of networks) if (network.room) network.light(dot);
}

function redraw() {
  for (const network of networks) if (network.room) network.draw();
  setFocus(focus, isHeld);
}

/** The dot that an arrow key leads to. */
function neighbour(network, key) {
  if (focus < 0) return network.columns[0].first;
  const place = network.column[focus], { first, dots, grid } = network.columns[place];
  const number = focus - first, across = grid ? grid[1] : 1;
  const isDown = key === "ArrowDown", isRight = key === "ArrowRight";
  if (key === "ArrowUp" || isDown) {
    const next = number + (isDown ? across : -across);
    return next >= 0 && next < dots ? first + next : focus;
  }
  const inRow = (number % across) + (isRight ? 1 : -1);
  if (inRow >= 0 && inRow < across) return focus + (isRight ? 1 : -1);
  const column = network.columns[place + (isRight ? 1 : -1)];
  if (!column) return focus;
  let nearest = column.first;
  for (let dot = column.first; dot < column.first + column.dots; dot++) {
    const distance = (one) => Math.abs(network.y[one] - network.y[focus]) + Math.abs(network.x[one] - network.x[focus]) / 2;
    if (distance(dot) < distance(nearest)) nearest = dot;
  }
  return nearest;
}

for (const network of networks) {
  const dotOf = (event) => network.dotAt(event.offsetX, event.offsetY);
  network.picture.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse" || isHeld) return;
    const dot = dotOf(event);
    if (dot !== focus) setFocus(dot, false);
  });
  network.picture.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !isHeld) setFocus(-1, false);
  });
  network.picture.addEventListener("click", (event) => {
    const dot = dotOf(event);
    setFocus(isHeld && dot === focus ? -1 : dot, true);
  });
  network.picture.addEventListener("keydown", (event) => {
    if (event.key.startsWith("Arrow")) {
      setFocus(neighbour(network, event.key), isHeld);
      network.reveal(focus);
    } else if (event.key === "Enter" || event.key === " ") {
      setFocus(focus, !isHeld);
    } else {
      return;
    }
    event.preventDefault();
  });
  new ResizeObserver(() => {
    if (network.room === network.stage.clientWidth) return; // its height changes with what is told below
    network.layOut();
    redraw();
  }).observe(network.stage);
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") setFocus(-1, false); });
form.addEventListener("change", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
