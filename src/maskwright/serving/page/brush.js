/** Corrections of a plane: strokes of a round brush that can be undone. */

import { boxOfStroke, copyBox, paintStroke, pasteBox } from "./mask.js";

const KEPT = 100;

export class Corrections {
  /** @param {{data: Uint8Array, width: number, height: number}} plane Painted in place. */
  constructor(plane) {
    this.plane = plane;
    /** @type {{box: object, before: Uint8Array, after: Uint8Array}[]} */
    this.done = [];
    this.undone = [];
    this.stroke = null;
    this.hasForgotten = false;
  }

  /** Whether the plane is another one than it was. */
  get isChanged() {
    return this.canUndo || this.hasForgotten;
  }

  get canUndo() {
    return this.done.length > 0 || Boolean(this.stroke?.box);
  }

  get canRedo() {
    return this.undone.length > 0 && !this.stroke;
  }

  /** Put the brush down, after lifting it where it is: a stroke that is returned. */
  begin(point, radius, value) {
    this.end();
    this.stroke = { before: this.plane.data.slice(), box: null, last: point, radius, value };
    this.move(point);
    return this.stroke;
  }

  /** Draw on to a point; without a stroke, as after an undo, nothing happens here, in `end` and in `cancel`. */
  move(point) {
    if (!this.stroke) return;
    const { last, radius, value } = this.stroke;
    paintStroke(this.plane, last, point, radius, value);
    this.stroke.box = union(this.stroke.box, boxOfStroke(this.plane, last, point, radius));
    this.stroke.last = point;
  }

  /** Lift the brush: the stroke becomes one that can be undone. */
  end() {
    if (!this.stroke) return;
    const { before, box } = this.stroke;
    this.stroke = null;
    if (!box) return;
    const was = copyBox({ ...this.plane, data: before }, box);
    this.done.push({ box, before: was, after: copyBox(this.plane, box) });
    if (this.done.length > KEPT) {
      this.done.shift();
      this.hasForgotten = true;
    }
    this.undone = [];
  }

  /** Forget the stroke that is being drawn. */
  cancel() {
    if (!this.stroke) return;
    this.plane.data.set(this.stroke.before);
    this.stroke = null;
  }

  /** Take the last stroke back, be it the one that is being drawn. */
  undo() {
    this.end();
    const stroke = this.done.pop();
    pasteBox(this.plane, stroke.box, stroke.before);
    this.undone.push(stroke);
  }

  redo() {
    const stroke = this.undone.pop();
    pasteBox(this.plane, stroke.box, stroke.after);
    this.done.push(stroke);
  }
}

function union(one, other) {
  if (other.width === 0 || other.height === 0) return one;
  if (!one) return other;
  const [left, top] = [Math.min(one.left, other.left), Math.min(one.top, other.top)];
  const right = Math.max(one.left + one.width, other.left + other.width);
  const bottom = Math.max(one.top + one.height, other.top + other.height);
  return { left, top, width: right - left, height: bottom - top };
}
