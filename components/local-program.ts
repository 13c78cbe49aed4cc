/**
 * Runs a program of this project on the computer of `pulumi up`, without a shell. Shells differ between systems. Also,
 * Ctrl-C kills only the process that the provider has started, and then waits until its children have closed its
 * output.
 */
export const interpreter = ["node", "--import", "tsx"];
