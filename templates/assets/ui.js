// Small comforts of the pages. Every page works without this file.
"use strict";

// Show or hide a password. The button is useless without script, so it is
// hidden until now.
for (const button of document.querySelectorAll("button.show")) {
  const field = document.getElementById(button.getAttribute("aria-controls"));
  const word = button.firstChild;
  const show = (visible) => {
    field.type = visible ? "text" : "password";
    word.data = visible ? button.dataset.hide : button.dataset.show;
  };
  button.addEventListener("click", () => {
    const visible = field.type === "password";
    show(visible);
    const said = document.getElementById("shown");
    if (said) said.textContent = visible ? button.dataset.shown : button.dataset.hidden;
  });
  // A visible password would end up in the browser's form history.
  field.form.addEventListener("submit", () => show(false));
  button.hidden = false;
  button.parentElement.classList.add("on");
}

// Say that Caps Lock is on while someone types a password.
const caps = document.getElementById("caps");
if (caps) {
  const look = (event) => {
    if (!event.getModifierState || !event.target.closest(".joined")) return;
    const text = event.getModifierState("CapsLock") ? caps.dataset.on : "";
    if (caps.textContent !== text) caps.textContent = text;
  };
  document.addEventListener("keydown", look);
  document.addEventListener("keyup", look);
}

// One submission per form. The buttons are not really disabled: a disabled
// button loses the focus, and its name and value would not be sent. They come
// back after a while, because an answer may leave the page standing (an app
// link, a lost connection), and when the browser shows the page from its
// back-forward cache.
const pause = 10000; // milliseconds
const rest = (form, busy) => {
  form.toggleAttribute("data-sent", busy);
  for (const button of form.querySelectorAll("button[type=submit]")) {
    if (busy) button.setAttribute("aria-disabled", "true");
    else button.removeAttribute("aria-disabled");
  }
};
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.hasAttribute("data-sent")) {
      event.preventDefault();
      return;
    }
    rest(form, true);
    setTimeout(rest, pause, form, false);
  });
  addEventListener("pageshow", () => rest(form, false));
}
