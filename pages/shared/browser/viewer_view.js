// Which part of the upload is seen: the same in every panel. Places are fractions of the whole, [0, 0] to [1, 1].

const CLOSEST = 16 // times
const STEP = 1.5 // of a button or a key
const CLOSER = 3 // times, of a double click
const SLIP = 5 // CSS pixels that a click may move
const DOUBLE = 250 // milliseconds within which a second click comes

export class View {
  constructor() { this.reset() }

  reset() { Object.assign(this, { zoom: 1, left: 0, top: 0 }) }

  // The place that is seen at a fraction of the frame.
  at([x, y]) { return [this.left + x / this.zoom, this.top + y / this.zoom] }

  // Larger or smaller, with one place staying where it is on the screen.
  zoomBy(factor, [x, y] = this.at([0.5, 0.5])) {
    const zoom = Math.min(CLOSEST, Math.max(1, this.zoom * factor)), part = this.zoom / zoom
    this.zoom = zoom
    this.moveTo(x - (x - this.left) * part, y - (y - this.top) * part)
  }

  moveTo(left, top) {
    const within = at => Math.min(1 - 1 / this.zoom, Math.max(0, at))
    Object.assign(this, { left: within(left), top: within(top) })
  }

  panBy([x, y]) { this.moveTo(this.left - x / this.zoom, this.top - y / this.zoom) } // in fractions of the frame

  reveal([x, y]) {
    const near = (at, start) => Math.min(at, Math.max(start, at - 1 / this.zoom))
    this.moveTo(near(x, this.left), near(y, this.top))
  }
}

// Let a frame be zoomed with Ctrl and the wheel, two fingers or a double click, and dragged while it is zoomed.
// `moved` is called after each change, `clicked` for a click that is none of this; it says whether a second may follow.
export function navigate(frame, view, moved, { clicked, waits }) {
  const fingers = new Map()
  let travelled = 0, later = 0
  const part = ({ clientX, clientY }) => {
    const box = frame.getBoundingClientRect()
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height]
  }
  const away = (a, b) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)
  const lifted = event => fingers.delete(event.pointerId)

  frame.addEventListener('wheel', event => {
    if (!event.ctrlKey) return
    event.preventDefault()
    view.zoomBy(Math.exp(-event.deltaY / 300), view.at(part(event)))
    moved()
  }, { passive: false })
  frame.addEventListener('touchmove', event => { if (event.touches.length > 1) event.preventDefault() }, { passive: false })
  frame.addEventListener('pointerdown', event => {
    if (!fingers.size) travelled = 0
    fingers.set(event.pointerId, event)
  })
  frame.addEventListener('pointermove', event => {
    const before = fingers.get(event.pointerId)
    if (!before) return
    fingers.set(event.pointerId, event)
    travelled += away(before, event)
    const other = [...fingers.values()].find(one => one !== event)
    if (other) view.zoomBy(away(event, other) / Math.max(1, away(before, other)), view.at(part(other)))
    else if (travelled > SLIP && view.zoom > 1) {
      frame.setPointerCapture(event.pointerId)
      const [from, to] = [part(before), part(event)]
      view.panBy([to[0] - from[0], to[1] - from[1]])
    } else return
    moved()
  })
  for (const name of ['pointerup', 'pointercancel', 'pointerleave']) frame.addEventListener(name, lifted)
  frame.addEventListener('click', event => {
    clearTimeout(later)
    if (travelled > SLIP) return
    if (!waits()) clicked()
    else if (event.detail < 2) later = setTimeout(clicked, DOUBLE)
    else {
      if (view.zoom > 1) view.reset()
      else view.zoomBy(CLOSER, view.at(part(event)))
      moved()
    }
  })
}
