/** How the clients of `npm run bench -- gap` and `-- death` behave. */

/** How often a talking client sends a message. */
export const talkMilliseconds = 1000;
/** A client waits a random time up to this before each attempt to connect again. */
export const maxPauseMilliseconds = 500;
/** How long an attempt may take. */
export const patienceSeconds = 3;
/** Clients that share an address: a single address may not have so many connections. */
export const perAddress = 25;
/** How often a new client comes. */
export const newcomerMilliseconds = 100;
