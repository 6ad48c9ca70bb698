/** Language and appearance. */
import { html } from "../../vendor/htm-preact-standalone.js";
import { languages } from "../i18n.js";
import { useApp } from "./context.js";
import { Dialog, DialogHead } from "./parts.js";

export function LanguageChoice() {
  const { state, words, choose } = useApp();
  return html`<label class="choice">
    <span>${words.languageSwitch}</span>
    <select value=${state.language} onChange=${(event) => choose({ language: event.target.value })}>
      ${Object.entries(languages).map(
        ([tag, table]) => html`<option value=${tag} lang=${tag} selected=${tag === state.language}>${table.language}</option>`,
      )}
    </select>
  </label>`;
}

export function ThemeChoice() {
  const { state, words, choose } = useApp();
  const names = { auto: words.themeAuto, light: words.themeLight, dark: words.themeDark };
  return html`<label class="choice">
    <span>${words.theme}</span>
    <select value=${state.theme} onChange=${(event) => choose({ theme: event.target.value })}>
      ${Object.entries(names).map(
        ([theme, name]) => html`<option value=${theme} selected=${theme === state.theme}>${name}</option>`,
      )}
    </select>
  </label>`;
}

export function PreferencesDialog({ onClose }) {
  const { state, words, session } = useApp();
  return html`<${Dialog} title=${words.menu} onClose=${onClose} kind="small">
    <${DialogHead} title=${words.menu} onClose=${onClose} closeLabel=${words.close} />
    <div class="stack">
      <${LanguageChoice} /><${ThemeChoice} />
      <button type="button" class="secondary" onClick=${() => session.logOut()}>
        ${words.logOut} <bdi class="faint">${state.me.username}</bdi>
      </button>
    </div>
  <//>`;
}
