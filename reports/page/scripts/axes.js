// Axes: linear or logarithmic, never so narrow that noise looks like a difference.

const LEAST_ERRORS = 4 // standard errors that an axis spans at least
const LOG_FACTOR = 20 // between the least and the largest value, from which logarithms help
const OF_INTERVAL = 2 * 1.96 // standard errors in an interval of 95 %
const SCALES = [
  ["auto", "automatic"],
  ["linear", "linear"],
  ["log", "logarithmic"],
]

// The extent of some values {mean, low, high}, on a scale that is asked for or fits.
function axisOf(values, wanted) {
  const means = values.map(value => value.mean)
  const least = d3.min(means)
  const most = d3.max(means)
  const helps = least > 0 && most > LOG_FACTOR * least
  const isLog = wanted === "log" || (wanted === "auto" && helps)
  const inside = isLog ? means.filter(mean => mean > 0) : means
  const ends = values
    .flatMap(({ low, high }) => [low, high])
    .filter(end => end !== null && (!isLog || end > 0))
  let [low, high] = d3.extent([...inside, ...ends])
  if (isLog) {
    // An interval that nearly reaches 0 has no end here.
    low = Math.max(low, d3.min(inside) / 10)
    const factor = Math.max((high / low) ** 0.06, 1.1)
    return {
      type: "log",
      domain: [low / factor, high * factor],
      ticks: logTicks(low / factor, high * factor),
    }
  }
  const errors = values.map(value =>
    value.high === null ? 0 : (value.high - value.low) / OF_INTERVAL,
  )
  const span = Math.max(high - low, LEAST_ERRORS * d3.max(errors), Math.abs(high) * 1e-3, 1e-12)
  const middle = (low + high) / 2
  const margin = 0.56 * span
  return { type: "linear", domain: [middle - margin, middle + margin], ticks: 6 }
}

function logTicks(low, high) {
  const powers = d3.range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)) + 1)
  const within = factors =>
    powers
      .flatMap(power => factors.map(factor => factor * 10 ** power))
      .filter(tick => tick >= low && tick <= high)
  const decades = within([1])
  if (decades.length > 6) return decades.filter((_, place) => place % 2 === 0)
  if (decades.length > 3) return decades
  return decades.length > 1 ? within([1, 3]) : within([1, 2, 5])
}

function tickText(value) {
  if (value === 0) return "0"
  const size = Math.abs(value)
  if (size >= 1e4) return d3.format("~s")(value)
  return String(Number(value.toPrecision(6)))
}

const isInside = (axis, value) => value !== null && (axis.type !== "log" || value > 0)
const clamp = (axis, value) => Math.min(Math.max(value, axis.domain[0]), axis.domain[1])
