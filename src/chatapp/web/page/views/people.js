/** Find people: for a new chat, or for one that there is. */
import { html, useEffect, useState } from "../../vendor/htm-preact-standalone.js";
import { sentenceFor } from "../i18n.js";
import { useApp } from "./context.js";
import { Avatar, Dialog, DialogHead, Icon } from "./parts.js";

const PAUSE_MS = 180;

export function PeopleDialog({ kind, chat, onClose }) {
  const { state, words, acts } = useApp();
  const [q, setQ] = useState("");
  const [found, setFound] = useState(null);
  const [chosen, setChosen] = useState([]);
  const [name, setName] = useState("");
  const [problem, setProblem] = useState(null);
  const adding = kind === "add";

  useEffect(() => {
    let current = true;
    const timer = setTimeout(async () => {
      try {
        const people = await acts.findPeople(q.trim());
        if (current) setFound(people);
      } catch (error) {
        if (current) setProblem(sentenceFor(error, words));
      }
    }, PAUSE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [q]);

  const members = new Set(adding ? chat.members.map((member) => member.user_id) : []);
  const people = (found ?? []).filter((user) => user.id !== state.me.id && !members.has(user.id));
  const isGroup = !adding && (chosen.length > 1 || name.trim() !== "");
  const toggle = (user) => {
    setProblem(null);
    setChosen(chosen.some((other) => other.id === user.id) ? chosen.filter((other) => other.id !== user.id) : [...chosen, user]);
  };
  const submit = (event) => {
    event.preventDefault();
    const ids = chosen.map((user) => user.id);
    if (ids.length === 0) return;
    if (adding) acts.addMembers(chat, ids);
    else if (!isGroup) acts.createDirect(ids[0]);
    else if (name.trim() === "") setProblem(words.groupNeedsName);
    else acts.createGroup(name.trim(), ids);
  };
  const title = adding ? words.addPeople : words.startChat;
  const label = adding ? words.add : isGroup ? words.createGroup : words.openDirect;

  return html`<${Dialog} title=${title} onClose=${onClose}>
    <${DialogHead} title=${title} onClose=${onClose} closeLabel=${words.close} />
    <form class="finder" onSubmit=${submit}>
      <label class="filter">
        <${Icon} name="search" /><span class="unseen">${words.findPeople}</span>
        <input type="search" autofocus autocomplete="off" spellcheck=${false} placeholder=${words.findHint} value=${q} onInput=${(event) => setQ(event.target.value)} />
      </label>
      ${chosen.length > 0 &&
      html`<ul class="chips">
        ${chosen.map(
          (user) => html`<li key=${user.id}>
            <button type="button" onClick=${() => toggle(user)} aria-label=${`${words.removeMember}: ${user.username}`}>
              <bdi>${user.username}</bdi><${Icon} name="close" />
            </button>
          </li>`,
        )}
      </ul>`}
      <ul class="people choose" aria-label=${words.findPeople}>
        ${people.map((user) => html`<${Choice} key=${user.id} user=${user} chosen=${chosen.some((other) => other.id === user.id)} toggle=${toggle} />`)}
        ${found !== null && people.length === 0 && html`<li class="faint nothing">${words.nothingFound}</li>`}
      </ul>
      ${!adding &&
      html`<label class="group-name">
        <span>${words.chatName}${chosen.length > 1 ? "" : ` (${words.group})`}</span>
        <input dir="auto" value=${name} maxlength="100" onInput=${(event) => setName(event.target.value)} />
      </label>`}
      <p class="problem" role="alert">${problem}</p>
      <div class="row">
        <span class="faint grow" aria-live="polite">${chosen.length > 0 ? words.chosen(chosen.length) : ""}</span>
        <button class="primary" disabled=${chosen.length === 0}>${label}</button>
      </div>
    </form>
  <//>`;
}

function Choice({ user, chosen, toggle }) {
  const { store } = useApp();
  return html`<li>
    <label class="person">
      <input type="checkbox" checked=${chosen} onChange=${() => toggle(user)} />
      <${Avatar} id=${user.id} name=${user.display_name || user.username} online=${store.isOnline(user.id)} />
      <span class="person-name">
        <bdi>${user.display_name || user.username}</bdi>
        ${user.display_name && html` <bdi class="faint">${user.username}</bdi>`}
      </span>
    </label>
  </li>`;
}
