// The token of a sign-in link is in the fragment, which no server is sent. It goes into the form
// here, and out of the address bar; only the button sends it.
"use strict";
const field = document.getElementById("token");
if (field && location.hash.length > 1) {
  field.value = location.hash.slice(1);
  document.getElementById("by-hand").hidden = true;
  history.replaceState(null, "", location.pathname);
}
