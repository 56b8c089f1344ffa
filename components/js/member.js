// Who this device is in a room: kept in the browser, so that a reload or a second page is still the same guest.

const GUEST = "guide-room-guest";
const keyOf = (code) => `guide-room-key-${code}`;

function readGuest() {
  let id = localStorage.getItem(GUEST);
  if (!id) {
    // not randomUUID: an address in a local network is no secure context
    id = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem(GUEST, id);
  }
  return id;
}

export default function ({ data, setStateValue }) {
  if (data.key) localStorage.setItem(keyOf(data.code), data.key);
  const told = JSON.stringify([readGuest(), localStorage.getItem(keyOf(data.code)) ?? ""]);
  if (told !== data.told) setStateValue("told", told);
}
