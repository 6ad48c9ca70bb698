/** Log in, or make an account. */
import { html, useEffect, useRef, useState } from "../../vendor/htm-preact-standalone.js";
import { useApp } from "./context.js";
import { LanguageChoice, ThemeChoice } from "./preferences.js";

export function Welcome() {
  const { state, words, session } = useApp();
  const [isNew, setNew] = useState(false);
  const first = useRef(null);
  useEffect(() => first.current?.focus(), [isNew]);

  const submit = (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const [username, password] = [given.get("username").trim(), given.get("password")];
    if (isNew) session.register(username, password, given.get("display_name").trim());
    else session.logIn(username, password);
  };

  return html`<main class="welcome">
    <section class="welcome-story" aria-hidden="true">
      <div class="bubbles"><span></span><span></span><span></span></div>
      <p class="story-line">${words.tagline}</p>
      <ul>
        ${words.promise.map((line) => html`<li>${line}</li>`)}
      </ul>
    </section>
    <section class="welcome-card">
      <p class="brand"><span class="mark"></span>${words.appName}</p>
      <h1>${isNew ? words.welcomeNew : words.welcome}</h1>
      <form onSubmit=${submit}>
        <label>
          <span>${words.username}</span>
          <input ref=${first} name="username" autocomplete="username" autocapitalize="none" spellcheck=${false} required minlength=${isNew ? 3 : 1} maxlength="50" placeholder=${isNew ? words.usernameHint : ""} />
        </label>
        <label>
          <span>${words.password}</span>
          <input name="password" type="password" autocomplete=${isNew ? "new-password" : "current-password"} required minlength=${isNew ? 6 : 1} maxlength="1024" placeholder=${isNew ? words.passwordHint : ""} />
        </label>
        ${isNew &&
        html`<label>
          <span>${words.displayName}</span>
          <input name="display_name" autocomplete="nickname" maxlength="100" />
        </label>`}
        <p class="problem" role="alert">${state.problem}</p>
        <button class="primary" disabled=${state.busy}>${isNew ? words.register : words.logIn}</button>
        <button type="button" class="quiet" onClick=${() => setNew(!isNew)}>${isNew ? words.haveAccount : words.needAccount}</button>
      </form>
      <footer class="welcome-foot"><${LanguageChoice} /><${ThemeChoice} /></footer>
    </section>
  </main>`;
}
