/** The words of the page: one table for each language, the same keys in all of them. */
import { de } from "./words/de.js";
import { en } from "./words/en.js";

export const languages = { en, de };

/** The first of the browser's languages that we have. */
export function preferredLanguage(wanted) {
  for (const tag of wanted) {
    const language = tag.toLowerCase().split("-")[0];
    if (language in languages) return language;
  }
  return "en";
}

/** How this language's numbers and times are written where the reader lives. */
export function localeFor(language, wanted) {
  return wanted.find((tag) => tag.toLowerCase().split("-")[0] === language) ?? language;
}

/** A sentence for a `ChatError`. */
export function sentenceFor(error, words) {
  const field = error.fields?.[0];
  if (field) {
    const known = { username: words.username, password: words.password, name: words.chatName, display_name: words.displayName };
    const say = words.fieldProblems[field.tag] ?? words.fieldProblems.other;
    return say(known[field.field] ?? field.field, field.value);
  }
  const known = words.errors[error.code] ?? (error.status === 403 ? words.errors.forbidden : undefined);
  if (typeof known === "function") return known(Math.max(1, Math.ceil(error.retryAfterS ?? 1)));
  return known ?? error.message;
}
