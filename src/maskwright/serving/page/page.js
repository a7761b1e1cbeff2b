/** The page: what is chosen, what happens on it, and what is said. */

import { followKeys, followPointers } from "./gestures.js";
import { drawTiles, showTiles } from "./gallery.js";
import { classTable, countClasses, countValues, thresholdOf } from "./mask.js";
import {
  askForMask, backgroundFile, closePlane, collectedMask, cutoutFile, decodePicture, maskFile, openPlane, ownLevel, Picture,
  thumbnailPlane,
} from "./pictures.js";
import { writeZip } from "./png.js";
import { collect, keepKey, readModel, Refusal } from "./server.js";
import { Stage } from "./stage.js";

const AT_ONCE = 2;
const OVERLAY_COLOUR = "#e69f00"; // of `maskwright predict --save overlay`
const PATIENCE = 250; // milliseconds that a slider rests before the server is asked for another cutout

const element = (id) => document.getElementById(id);
const stage = new Stage(element("stage"));

let model = null;
/** @type {Picture[]} */
let pictures = [];
/** @type {Picture | null} */
let selected = null;
/** @type {Picture | null} The picture on the stage. */
let shown = null;
let level = null;
let brushValue = 255;
let values = null;
let refining = 0;
const look = { view: "overlay", table: classTable(128), classes: [], strength: 0.45, cutout: null, background: "#ffffff" };

// Beginning

async function begin() {
  listen();
  while (!model) {
    try {
      model = await readModel();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 401) return explain(error.message);
      await askForKey();
    }
  }
  level = ownLevel(model);
  look.classes = model.classes.map(({ name, colour, background }) => ({
    name, isBackground: background, isShown: true, colour: findsOne() && !background ? OVERLAY_COLOUR : colour,
  }));
  describeModel();
  setLevel(level);
  element("main").removeAttribute("aria-busy");
}

/** Whether the model tells one class from a background, and not two classes from each other. */
function findsOne() {
  return model.binary && model.classes[0].background;
}

function askForKey() {
  const dialog = element("key");
  dialog.oncancel = (event) => event.preventDefault(); // there is nothing to go back to
  if (sessionStorage.length > 0) element("key-note").textContent = "The server does not know that key. Try another.";
  element("key-input").oninput = ({ target }) => {
    // In a header, `fetch` throws at most of these.
    const isOdd = /\P{ASCII}/u.test(target.value);
    const sentence = "No key holds a curly quote, an invisible space or the like, as this one does; copy it again.";
    target.setCustomValidity(isOdd ? sentence : "");
  };
  dialog.showModal();
  return new Promise((resolve) => {
    element("key-form").onsubmit = (event) => {
      event.preventDefault();
      keepKey(element("key-input").value);
      element("key-input").value = "";
      dialog.close();
      resolve();
    };
  });
}

function describeModel() {
  const found = look.classes.filter((one) => !one.isBackground).map((one) => one.name);
  element("model").textContent = `${model.name} · ${model.engine}`;
  element("version").textContent = `Maskwright ${model.version}`;
  const finds = `This model ${found.join() === "foreground" ? "tells foreground and background apart" : `finds ${found.join(", ")}`}.`;
  element("finds").textContent = `${finds} ${element("finds").textContent}`;
  element("threshold-field").hidden = level === null;
  element("save").hidden = !model.collect;
  for (const part of document.querySelectorAll("[value=cutout], [value=background]")) {
    part.parentElement.hidden = !model.outputs.includes("cutout");
  }
  element("download-cutout").hidden = element("download-background").hidden = !model.outputs.includes("cutout");
  element("classes").replaceChildren(...look.classes.map(classRow).filter(Boolean));
  const named = look.classes.map((one, index) => [model.binary ? 255 * index : index, one.name]);
  const paints = findsOne() ? [[255, "Add"], [0, "Erase"]] : named;
  brushValue = model.binary ? 255 : Math.max(0, look.classes.findIndex((one) => !one.isBackground));
  element("paints").replaceChildren(...paints.map(([value, name]) => paintChoice(value, name)));
}

function classRow(one, index) {
  if (one.isBackground && model.binary) return null;
  const row = document.createElement("li");
  row.innerHTML = `<label><input type="checkbox" checked><span></span></label><span class="share"></span>
    <input type="color">`;
  const [box, colour] = row.querySelectorAll("input");
  row.querySelector("label span").textContent = one.name;
  row.querySelector(".share").dataset.index = index;
  colour.value = one.colour;
  colour.setAttribute("aria-label", `Colour of ${one.name}`);
  colour.hidden = box.hidden = one.isBackground;
  colour.oninput = () => change(() => (one.colour = colour.value));
  box.onchange = () => change(() => (one.isShown = box.checked));
  return row;
}

function paintChoice(value, name) {
  const label = document.createElement("label");
  label.innerHTML = `<input type="radio" name="paint"><span></span>`;
  label.firstElementChild.checked = value === brushValue;
  label.firstElementChild.onchange = () => (brushValue = value);
  label.lastElementChild.textContent = name;
  return label;
}

// Pictures in, masks back

function addFiles(files) {
  const added = [...files].filter((file) => file.type === "" || file.type.startsWith("image/"));
  if (added.length === 0) return say("There was no picture in that; JPEG, PNG, WebP and their like are.", true);
  if (!model) return;
  const first = added.map(addPicture)[0];
  element("start").hidden = true;
  element("work").hidden = false;
  select(first);
  work();
}

function addPicture(file) {
  const picture = new Picture(file);
  const taken = new Set(pictures.map((other) => other.stem)); // downloads are named by it
  for (let number = 2; taken.has(picture.stem); number++) {
    picture.name = file.name.replace(/(\.[^.]*)?$/, `-${number}$1`);
  }
  pictures.push(picture);
  return picture;
}

/** Ask for the masks of pictures that wait, a few at a time. */
function work() {
  const working = pictures.filter((picture) => picture.status === "working").length;
  for (const picture of pictures.filter((one) => one.status === "waiting").slice(0, AT_ONCE - working)) {
    picture.status = "working";
    findMask(picture).then(work);
  }
  offerAll();
  showGallery();
}

/** All masks at once, where there are several pictures and any mask. */
function offerAll() {
  element("download-all").hidden = pictures.length < 2;
  element("download-all").disabled = !pictures.some((picture) => picture.status === "ready");
}

async function findMask(picture) {
  const wait = (seconds) => {
    picture.sentence = `the server is busy, again in ${seconds} s`;
    showGallery();
    if (picture === selected) notice(`The server is busy; asking again in ${seconds} s`);
  };
  try {
    if (picture.file.size > model.limits.bytes) throw new Error(tooLarge(picture));
    await askForMask(picture, model, wait);
    [picture.status, picture.sentence] = ["ready", ""];
  } catch (error) {
    [picture.status, picture.sentence] = ["failed", error.message];
  }
  if (picture === selected) await showSelected();
  else closePlane(picture);
  showGallery();
}

function tooLarge({ name, file }) {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  return `${name} has ${megabytes(file.size)}, and this server takes ${megabytes(model.limits.bytes)}; a smaller copy will do.`;
}

async function select(picture) {
  if (selected && selected !== picture) closePlane(selected);
  selected = picture;
  stage.plane = values = null;
  await showSelected();
  showGallery();
}

/** Bring the selected picture onto the stage, and its mask if there is one. */
async function showSelected() {
  const picture = selected;
  const hasChanged = () => picture !== selected;
  element("again").hidden = picture.status !== "failed";
  let bitmap = null;
  try {
    if (shown !== picture) bitmap = await decodePicture(picture);
    if (picture.status === "ready") await openPlane(picture, model);
  } catch (error) {
    [picture.status, picture.sentence] = ["failed", error.message];
  }
  if (hasChanged()) return bitmap?.close();
  if (bitmap) stage.show(bitmap);
  else if (shown !== picture) stage.clear();
  shown = picture;
  stage.plane = picture.plane;
  stage.root.classList.toggle("bare", !picture.plane);
  stage.root.setAttribute("aria-busy", String(["waiting", "working"].includes(picture.status)));
  element("original").setAttribute("aria-label", `${picture.name}${picture.plane ? " with its mask" : ""}`);
  enable(picture.status === "ready");
  if (picture.status === "ready") {
    notice("");
    changePlane();
    return say(`${picture.name}: ${describeShares()}`);
  }
  values = null;
  showShares();
  if (picture.status === "failed") {
    notice(picture.sentence, true);
    say(picture.sentence, true);
  } else {
    notice("Finding the mask …");
    say(`${picture.name}: finding the mask.`);
  }
}

function remove(picture) {
  const place = pictures.indexOf(picture);
  pictures = pictures.filter((other) => other !== picture);
  offerAll();
  if (picture === selected && pictures.length > 0) select(pictures[Math.min(place, pictures.length - 1)]);
  showGallery();
  say(`${picture.name} is removed.`);
  if (pictures.length > 0) return element("gallery").querySelectorAll(".tile")[Math.min(place, pictures.length - 1)].focus();
  selected = shown = null;
  stage.clear();
  element("work").hidden = true;
  element("start").hidden = false;
  element("choose").focus();
}

async function tryAgain() {
  selected.status = "waiting";
  work();
  await showSelected();
}

// What is seen

/** Change what is looked at, and show it. */
function change(how) {
  how();
  look.cutout = null;
  stage.look = look;
  stage.draw();
  requestAnimationFrame(() => drawTiles(element("gallery"), look));
  stage.root.dataset.view = look.view;
  element("strength-field").hidden = look.view !== "overlay";
  element("background-field").hidden = look.view !== "background";
  element("strength-said").textContent = `${Math.round(100 * look.strength)} %`;
  showShares();
  refine();
}

/** The plane is another one, or has been painted on. */
function changePlane() {
  values = countValues(selected.plane.data);
  element("undo").disabled = !selected.corrections.canUndo;
  element("redo").disabled = !selected.corrections.canRedo;
  element("start-over").disabled = !selected.isCorrected;
  showSize();
  change(() => {});
}

function setLevel(chosen) {
  level = chosen;
  if (level !== null) {
    const isOwn = level === ownLevel(model);
    element("threshold").value = level;
    const threshold = (isOwn ? model.threshold : thresholdOf(level)).toFixed(3).replace(/0$/, "");
    element("threshold-said").textContent = isOwn ? `${threshold}, the model’s own` : threshold;
    element("threshold").setAttribute("aria-valuetext", element("threshold-said").textContent);
    element("threshold-own").hidden = isOwn;
  }
  change(() => (look.table = classTable(level)));
}

/** Once the controls rest, put the server's cutout, whose edges are clean, in place of the quick one. */
function refine() {
  const mine = ++refining;
  stage.root.dataset.edges = "quick";
  if (!["cutout", "background"].includes(look.view) || selected?.status !== "ready") return;
  const picture = selected;
  setTimeout(async () => {
    if (mine !== refining) return;
    try {
      const cutout = await createImageBitmap(await cutoutFile(picture, model, level, sayBusy));
      if (mine !== refining) return;
      look.cutout = cutout;
      stage.draw();
      stage.root.dataset.edges = "clean";
    } catch (error) {
      if (mine === refining) say(error.message, true);
    }
  }, PATIENCE);
}

function showShares() {
  const counts = values && countClasses(values, look.table);
  for (const share of element("classes").querySelectorAll(".share")) {
    share.textContent = counts ? percent(counts[share.dataset.index]) : "";
  }
}

function describeShares() {
  const counts = countClasses(values, look.table);
  const found = look.classes
    .map(({ name, isBackground }, index) => ({ name, isBackground, count: counts[index] }))
    .filter(({ isBackground, count }) => !isBackground && count > 0)
    .sort((one, other) => other.count - one.count);
  if (found.length === 0) return level === null ? "nothing found." : "nothing found; a lower threshold finds more.";
  return `${found.map(({ name, count }) => `${name} ${percent(count)}`).join(", ")} of the picture.`;
}

function percent(count) {
  const share = (100 * count) / selected.plane.data.length;
  if (share > 0 && share < 0.05) return "<0.1 %";
  return `${share.toFixed(share > 0 && share < 10 ? 1 : 0)} %`;
}

function showGallery() {
  showTiles(element("gallery"), pictures, selected, { select, remove });
  drawTiles(element("gallery"), look);
}

function compareAt(percentage) {
  element("compare").value = percentage;
  const place = Number(element("compare").value);
  element("compare").setAttribute("aria-valuetext", `original on the left ${place} %`);
  stage.root.style.setProperty("--compare", `${place}%`);
}

function zoomBy(factor) {
  stage.zoomTo(stage.zoom * factor);
}

function enable(isReady) {
  const parts = "#views input, #downloads .row button, #correct button, #threshold, #strength, #threshold-own, #compare";
  for (const part of document.querySelectorAll(parts)) part.disabled = !isReady;
}

// Painting

const painter = {
  isOn: () => element("brush").getAttribute("aria-pressed") === "true" && stage.plane !== null,
  radius: () => (Number(element("size").value) / 2) * stage.scale(),
  begin(point) {
    const stroke = selected.corrections.begin(point, this.radius(), brushValue);
    this.draw();
    return stroke;
  },
  isOpen: (stroke) => stroke !== null && selected?.corrections?.stroke === stroke,
  move(point) {
    selected.corrections.move(point);
    this.draw();
  },
  end() {
    selected.corrections.end();
    corrected();
    say(describeShares());
  },
  cancel() {
    selected.corrections.cancel();
    this.draw();
  },
  draw() {
    look.cutout = null;
    stage.draw();
  },
  hover(point) {
    const ring = element("ring");
    ring.hidden = point === null;
    if (!point) return;
    const { left, top } = stage.part();
    const size = Number(element("size").value);
    const [x, y] = [(point.x - left) / stage.scale(), (point.y - top) / stage.scale()];
    ring.style.width = ring.style.height = `${size}px`;
    ring.style.transform = `translate(${x - size / 2}px, ${y - size / 2}px)`;
  },
  announce({ x, y }, isDown) {
    const { plane } = selected;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const here = look.classes[look.table[plane.data[row * plane.width + column]]];
    say(`${isDown ? "Painted at" : "At"} column ${column}, row ${row}: ${here.name}.`);
  },
};

function toggleBrush() {
  const isOn = element("brush").getAttribute("aria-pressed") !== "true";
  element("brush").setAttribute("aria-pressed", String(isOn));
  element("brush").textContent = isOn ? "Done" : "Correct with a brush";
  element("brush-tools").hidden = !isOn;
  stage.root.classList.toggle("painting", isOn);
  const picture = element("original");
  if (isOn) {
    picture.tabIndex = 0;
    picture.setAttribute("role", "application");
    picture.setAttribute("aria-describedby", "brush-keys");
  } else {
    picture.removeAttribute("tabindex");
    picture.setAttribute("role", "img");
    painter.hover(null);
  }
  showSize();
}

function showSize() {
  if (!stage.bitmap) return;
  element("size-said").textContent = `${Math.max(1, Math.round(2 * painter.radius()))} px of the picture`;
}

function corrected() {
  selected.thumbnail.plane = thumbnailPlane(selected);
  selected.isSaved = selected.isKept = false;
  changePlane();
  showGallery();
}

function undo() {
  if (!selected?.corrections?.canUndo) return;
  selected.corrections.undo();
  corrected();
  say("Undone.");
}

function redo() {
  if (!selected?.corrections?.canRedo) return;
  selected.corrections.redo();
  corrected();
  say("Done again.");
}

async function startOver() {
  selected.corrections = null;
  await openPlane(selected, model);
  stage.plane = selected.plane;
  corrected();
  say("The mask is the model’s again.");
}

async function save() {
  const picture = selected;
  await busy(element("save"), async () => {
    const kept = await collect(picture.file, await collectedMask(picture, level), picture.name);
    picture.isSaved = picture.isKept = true;
    showGallery();
    say(`Saved as ${kept.image} and ${kept.mask}.`);
  });
}

// Files out

async function download(kind, button) {
  const picture = selected;
  await busy(button, async () => {
    const file = await makeFile(kind, picture);
    give(file, `${picture.stem}_${kind}.png`);
    picture.isKept = true;
    say(`${picture.stem}_${kind}.png is on its way to your downloads.`);
  });
}

function makeFile(kind, picture) {
  if (kind === "mask") return maskFile(picture, model, level);
  if (kind === "cutout") return cutoutFile(picture, model, level, sayBusy);
  return backgroundFile(picture, model, level, look.background, sayBusy);
}

async function downloadAll() {
  await busy(element("download-all"), async () => {
    const files = {};
    for (const picture of pictures.filter((one) => one.status === "ready")) {
      files[`${picture.stem}_mask.png`] = await maskFile(picture, model, level);
      picture.isKept = true;
      if (picture !== selected) closePlane(picture);
    }
    give(await writeZip(files), "masks.zip");
    say(`${Object.keys(files).length} masks are on their way to your downloads.`);
  });
}

function give(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// What is said

function say(sentence, isProblem = false) {
  if (element("work").hidden) return explain(sentence);
  element("status").textContent = sentence;
  element("status").classList.toggle("problem", isProblem);
  // What stands on the stage already is for screen readers here.
  element("status").classList.toggle("unseen", !element("notice").hidden && sentence === element("notice").textContent);
}

function sayBusy(seconds) {
  say(`The server is busy; asking again in ${seconds} s.`);
}

function notice(sentence, isProblem = false) {
  element("notice").textContent = sentence;
  element("notice").hidden = sentence === "";
  element("notice").classList.toggle("problem", isProblem);
}

function explain(sentence) {
  element("finds").textContent = sentence;
}

/** Do something that takes a moment, once at a time, and say so where it fails. */
async function busy(button, task) {
  button.disabled = true;
  try {
    await task();
  } catch (error) {
    say(error.message, true);
  } finally {
    button.disabled = false;
  }
}

// What is listened to

function listen() {
  for (const id of ["choose", "more", "photograph"]) {
    element(id).addEventListener("change", ({ target }) => {
      addFiles(target.files);
      target.value = "";
    });
  }
  element("sample").onclick = trySample;
  document.addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData.files.length > 0) addFiles(clipboardData.files);
  });
  listenToDrops();
  listenToControls();
  followPointers(stage, painter, (share) => compareAt(100 * share));
  followKeys(stage, element("original"), painter);
  stage.onZoom = () => {
    element("zoom").textContent = `${Math.round(100 * stage.zoom)} %`;
    showSize();
  };
}

async function trySample() {
  await busy(element("sample"), async () => {
    const reply = await fetch("sample.jpg");
    addFiles([new File([await reply.blob()], "drawn-car.jpg", { type: "image/jpeg" })]);
  });
}

function listenToDrops() {
  const target = element("drop-here");
  const hasFiles = ({ dataTransfer }) => dataTransfer.types.includes("Files");
  document.addEventListener("dragenter", (event) => (target.hidden = !hasFiles(event)));
  document.addEventListener("dragover", (event) => event.preventDefault());
  target.addEventListener("dragleave", () => (target.hidden = true));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    target.hidden = true;
    if (hasFiles(event)) addFiles(event.dataTransfer.files);
  });
}

function listenToControls() {
  element("views").onchange = ({ target }) => change(() => (look.view = target.value));
  element("threshold").oninput = ({ target }) => setLevel(Number(target.value));
  element("threshold").onchange = () => say(describeShares());
  element("threshold-own").onclick = () => {
    setLevel(ownLevel(model));
    element("threshold").focus();
    say(describeShares());
  };
  element("strength").oninput = ({ target }) => change(() => (look.strength = Number(target.value) / 100));
  element("compare").oninput = ({ target }) => compareAt(Number(target.value));
  element("background-colour").oninput = ({ target }) => change(() => (look.background = target.value));
  element("background-picture").onchange = async ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (!file) return;
    const bitmap = await createImageBitmap(file).catch(() => null);
    if (bitmap) change(() => (look.background = bitmap));
    else say(`${file.name} is no picture that this browser can show.`, true);
  };
  element("again").onclick = tryAgain;
  element("zoom-in").onclick = () => zoomBy(1.5);
  element("zoom-out").onclick = () => zoomBy(1 / 1.5);
  element("zoom-fit").onclick = () => stage.zoomTo(1);
  element("brush").onclick = toggleBrush;
  element("size").oninput = showSize;
  element("undo").onclick = undo;
  element("redo").onclick = redo;
  element("start-over").onclick = startOver;
  element("save").onclick = save;
  for (const kind of ["mask", "cutout", "background"]) {
    element(`download-${kind}`).onclick = ({ currentTarget }) => download(kind, currentTarget);
  }
  element("download-all").onclick = downloadAll;
  window.addEventListener("beforeunload", (event) => {
    if (pictures.some((picture) => picture.isCorrected && !picture.isKept)) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (!painter.isOn() || !(event.ctrlKey || event.metaKey)) return;
    const key = event.key.toLowerCase();
    if (key === "y" || (key === "z" && event.shiftKey)) redo();
    else if (key === "z") undo();
    else return;
    event.preventDefault();
  });
}

await begin();
