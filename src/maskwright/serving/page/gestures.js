/** Fingers, pens, mice and keys on the stage: compare, move, enlarge and paint. */

const STEP = 1.5;

/**
 * What painting does on the page.
 * @typedef {object} Painter
 * @property {() => boolean} isOn
 * @property {() => number} radius In pixels of the picture.
 * @property {(point: {x: number, y: number}) => object} begin The stroke.
 * @property {(stroke: object | null) => boolean} isOpen Whether that stroke is being drawn.
 * @property {(point: {x: number, y: number}) => void} move
 * @property {() => void} end
 * @property {() => void} cancel
 * @property {(point: {x: number, y: number} | null) => void} hover
 * @property {(point: {x: number, y: number}, isDown: boolean) => void} announce
 */

/**
 * Follow pointers on the stage. One paints while the brush is on, else it moves an enlarged picture or the compare
 * slider; two enlarge and move at once.
 * @param {import("./stage.js").Stage} stage
 * @param {Painter} painter
 * @param {(share: number) => void} compare Where the slider goes, 0 to 1.
 */
export function followPointers(stage, painter, compare) {
  const pointers = new Map();
  let doing = null;

  function start(event) {
    if (!stage.bitmap || event.target.type === "range" || event.button !== 0) return;
    stage.root.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      if (doing === "paint") painter.cancel();
      doing = "pinch";
    } else if (painter.isOn()) {
      doing = "paint";
      painter.begin(stage.pointAt(event));
    } else {
      doing = stage.zoom > 1 ? "pan" : "compare";
    }
    move(event);
  }

  function move(event) {
    if (painter.isOn() && stage.bitmap) painter.hover(event.pointerType === "touch" ? null : stage.pointAt(event));
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (doing === "paint") painter.move(stage.pointAt(event));
    if (doing === "compare") compare(shareAt(event));
    if (doing === "pan") moveBy(before, event);
    if (doing === "pinch" && pointers.size === 2) pinch(event);
    pointers.set(event.pointerId, event);
  }

  function pinch(event) {
    const [one, other] = pointers.values();
    const still = one.pointerId === event.pointerId ? other : one;
    const moved = still === one ? other : one;
    const ratio = distance(still, event) / Math.max(1, distance(still, moved));
    moveBy(between(still, moved), between(still, event));
    stage.zoomTo(stage.zoom * ratio, stage.pointAt(between(still, event)));
  }

  function moveBy(from, to) {
    const [there, here] = [stage.pointAt(from), stage.pointAt(to)];
    stage.moveTo({ x: stage.middle.x + there.x - here.x, y: stage.middle.y + there.y - here.y });
  }

  function stop(event) {
    if (!pointers.delete(event.pointerId)) return;
    if (doing === "paint") painter.end();
    if (pointers.size === 0) doing = null;
    else doing = "pinch";
  }

  function shareAt({ clientX }) {
    const { left, width } = stage.root.getBoundingClientRect();
    return Math.min(1, Math.max(0, (clientX - left) / width));
  }

  stage.root.addEventListener("pointerdown", start);
  stage.root.addEventListener("pointermove", move);
  stage.root.addEventListener("pointerup", stop);
  stage.root.addEventListener("pointercancel", stop);
  stage.root.addEventListener("pointerleave", () => painter.hover(null));
  stage.root.addEventListener("wheel", (event) => {
    // A pinch on a trackpad comes as a wheel with Ctrl; a wheel alone scrolls the page.
    if (!event.ctrlKey || !stage.bitmap) return;
    event.preventDefault();
    stage.zoomTo(stage.zoom * Math.exp(-event.deltaY / 200), stage.pointAt(event));
  }, { passive: false });
}

/**
 * Paint with the keys: arrows move the brush, Space paints a dab, Enter puts the brush down and lifts it.
 * @param {import("./stage.js").Stage} stage
 * @param {HTMLElement} target Has the focus.
 * @param {Painter} painter
 */
export function followKeys(stage, target, painter) {
  let place = null;
  let stroke = null;
  // An undo or the pointer may have ended it.
  const isDown = () => painter.isOpen(stroke);

  function lift() {
    if (isDown()) painter.end();
    stroke = null;
  }

  function moveTo(point) {
    place = {
      x: Math.min(stage.bitmap.width - 0.5, Math.max(0.5, point.x)),
      y: Math.min(stage.bitmap.height - 0.5, Math.max(0.5, point.y)),
    };
    if (isDown()) painter.move(place);
    stage.reveal(place);
    painter.hover(place);
    painter.announce(place, isDown());
  }

  function middle() {
    const { left, top, width, height } = stage.part();
    return { x: Math.round(left + width / 2) + 0.5, y: Math.round(top + height / 2) + 0.5 };
  }

  function press(event) {
    if (!painter.isOn() || event.ctrlKey || event.metaKey || event.altKey) return;
    place ??= middle(); // a click has brought the focus
    const step = event.shiftKey ? 1 : Math.max(1, Math.round(painter.radius() / 2));
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key in moves) moveTo({ x: place.x + moves[event.key][0], y: place.y + moves[event.key][1] });
    else if (event.key === " ") dab();
    else if (event.key === "Enter") toggle();
    else if (event.key === "Escape") lift();
    else if (event.key === "+") stage.zoomTo(stage.zoom * STEP, place);
    else if (event.key === "-") stage.zoomTo(stage.zoom / STEP, place);
    else return;
    event.preventDefault();
  }

  function dab() {
    if (isDown()) return;
    painter.begin(place);
    painter.end();
    painter.announce(place, true);
  }

  function toggle() {
    if (isDown()) lift();
    else stroke = painter.begin(place);
    painter.announce(place, isDown());
  }

  target.addEventListener("keydown", press);
  target.addEventListener("focus", () => {
    // A click gives the focus as well, and the pointer then says where the brush is.
    if (!painter.isOn() || !target.matches(":focus-visible")) return;
    moveTo(middle());
  });
  target.addEventListener("blur", () => {
    lift();
    place = null;
    painter.hover(null);
  });
}

function distance(one, other) {
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
}

function between(one, other) {
  return { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
}
