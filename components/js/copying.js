// Copy a text, and say on the button that it is done. Whoever uses this brings `make`.

// The clipboard needs a safe address (https, localhost); elsewhere the old command still copies.
async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch { /* not allowed: go on the old way */ }
  }
  const field = make("textarea", { style: "position: fixed; opacity: 0" });
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

function copyButton(label, words, read) {
  const button = make("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    await copy(read());
    button.textContent = words.copied;
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}
