/** What every view may ask for, without passing it down by hand. */
import { createContext, useContext } from "../../vendor/htm-preact-standalone.js";

export const Context = createContext(null);

/** `{store, state, words, session, acts, choose}` */
export const useApp = () => useContext(Context);
