// The form for a token. The node keeps it in a cookie that scripts cannot read.
import { html, useState } from "../vendor/preact.js";
import { call } from "../lib/api.js";

export function SignIn({ done }) {
  const [token, setToken] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (e) => {
    e.preventDefault();
    setBusy(true);
    setError("");
    try {
      await call("POST", "/v1/auth/sign-in", { token: token.trim() });
      done();
    } catch (err) {
      setError(err.message);
      setBusy(false);
    }
  };
  return html`<main><section class="card" aria-labelledby="signin">
    <form onSubmit=${send} class="filters">
      <div style=${{ flexBasis: "100%" }}><h1 id="signin">Sign in</h1>
        <p class="quiet">This mesh asks who you are. Paste a token: <span class="code">sharelock auth token create --principal NAME</span> makes one.</p></div>
      <label>Token <input type="password" autocomplete="off" required value=${token} onInput=${(e) => setToken(e.target.value)} /></label>
      <button class="main" disabled=${busy}>Sign in</button>
      <div role="alert" class="error" style=${{ flexBasis: "100%" }}>${error}</div>
    </form></section></main>`;
}
