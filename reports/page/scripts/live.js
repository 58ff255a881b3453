// A page that follows a run: it asks its server how far that is, and is loaded again once there are
// new rows. What is chosen stays, as it stands in the address.

const ASK_EVERY_MS = 3000

async function follow() {
  const note = byId("live")
  try {
    const seen = await (await fetch("state")).json()
    note.textContent = seen.text
    const isTyping = document.activeElement?.id === "search"
    if (seen.stamp !== document.documentElement.dataset.stamp && !isTyping) location.reload()
  } catch {
    note.textContent = "the server has ended: this is what it showed last"
  }
  setTimeout(follow, ASK_EVERY_MS)
}

follow()
