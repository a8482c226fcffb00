// Something that was sent, kept under its name for whoever asks. The name is its first line.

export default function ({ data }) {
  const end = data.indexOf(10)
  const name = new TextDecoder().decode(data.subarray(0, end))
  const hand = ({ detail }) => { if (detail.name === name) detail.content = data.slice(end + 1) }
  document.addEventListener('second-look-wanted', hand)
  document.dispatchEvent(new CustomEvent('second-look-here', { detail: name }))
  return () => document.removeEventListener('second-look-wanted', hand)
}
