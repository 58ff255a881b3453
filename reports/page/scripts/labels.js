// Names beside points: where neither a point nor another name is. A name without a place is left to
// the pointer.

const LETTER = 6.6 // pixels
const HEIGHT = 14
const MOST_LETTERS = 34 // of a name in a figure
const PLACES = [
  [9, 0, "start"],
  [-9, 0, "end"],
  [0, -14, "middle"],
  [0, 15, "middle"],
  [8, -11, "start"],
  [-8, -11, "end"],
  [8, 12, "start"],
  [-8, 12, "end"],
  [24, -22, "start"],
  [-24, -22, "end"],
  [24, 24, "start"],
  [-24, 24, "end"],
  [0, -34, "middle"],
  [0, 36, "middle"],
  [40, -38, "start"],
  [-40, 38, "end"],
]

// `marks` are {line, x, y}; `named` says which of them have a name. Names keep away from `bars`,
// {x1, y1, x2, y2}, where they can, and nothing leaves the figure.
function writeLabels(svg, marks, named, width, height, bars = []) {
  const points = marks.map(({ x, y }) => ({
    left: x - 6,
    right: x + 6,
    top: y - 6,
    bottom: y + 6,
  }))
  const lines = bars.map(({ x1, y1, x2, y2 }) => ({
    left: Math.min(x1, x2),
    right: Math.max(x1, x2),
    top: Math.min(y1, y2),
    bottom: Math.max(y1, y2),
  }))
  const written = []
  const group = d3.select(svg).append("g").attr("aria-hidden", "true")
  const withName = marks.filter(named)
  const titles = withName.map(({ line }) => line.title)
  const names = shortNames(titles, MOST_LETTERS)
  for (const [place, mark] of withName.entries()) {
    const title = names[place]
    const candidates = PLACES.map(([dx, dy, anchor]) => ({
      dx,
      dy,
      anchor,
      box: boxOf(mark, dx, dy, anchor, LETTER * title.length),
    }))
    const isFree =
      obstacles =>
      ({ box }) =>
        box.left > 0 &&
        box.right < width &&
        box.top > 0 &&
        box.bottom < height &&
        obstacles.every(
          other =>
            box.left > other.right ||
            box.right < other.left ||
            box.top > other.bottom ||
            box.bottom < other.top,
        )
    const free =
      candidates.find(isFree([...points, ...written, ...lines])) ??
      candidates.find(isFree([...points, ...written]))
    if (!free) continue
    const { dx, dy, anchor, box } = free
    written.push(box)
    if (Math.hypot(dx, dy) > 20) {
      group
        .append("line")
        .attr("class", "leader")
        .attr("x1", mark.x)
        .attr("y1", mark.y)
        .attr("x2", mark.x + dx * 0.9)
        .attr("y2", mark.y + dy * 0.75)
    }
    group
      .append("text")
      .attr("class", "label")
      .attr("x", mark.x + dx)
      .attr("y", mark.y + dy)
      .attr("dy", "0.32em")
      .attr("text-anchor", anchor)
      .text(title)
  }
}

function boxOf({ x, y }, dx, dy, anchor, width) {
  const start = { start: x + dx, end: x + dx - width, middle: x + dx - width / 2 }[anchor]
  return {
    left: start,
    right: start + width,
    top: y + dy - HEIGHT / 2,
    bottom: y + dy + HEIGHT / 2,
  }
}

const SHARES = [0.5, 0.25, 0.75, 0] // of a short name that is its beginning

// Names of at most so many letters, cut in the middle. Those that would look alike are cut
// elsewhere, or all are as long as it takes to tell them apart.
function shortNames(titles, letters) {
  const longest = d3.max(titles, title => title.length) ?? 0
  for (let room = letters; room < longest; room += 2) {
    const names = titles.map(title => distinctCut(title, titles, room))
    if (new Set(names).size === new Set(titles).size) return names
  }
  return titles
}

// The first cut of a title that no other title shares.
function distinctCut(title, titles, letters) {
  const others = titles.filter(other => other !== title)
  const cuts = SHARES.map(share => ({ share, text: cutMiddle(title, letters, share) }))
  const isAlone = ({ share, text }) =>
    others.every(other => cutMiddle(other, letters, share) !== text)
  return (cuts.find(isAlone) ?? cuts[0]).text
}

function cutMiddle(title, letters, share) {
  if (title.length <= letters) return title
  const first = Math.round(share * (letters - 1))
  const last = letters - 1 - first
  return `${title.slice(0, first)}…${title.slice(title.length - last)}`
}
