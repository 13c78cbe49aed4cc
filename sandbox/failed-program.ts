import * as pulumi from "@pulumi/pulumi";

// Pulumi ships these without making them part of its typed surface.
const { LanguageServer } = require("@pulumi/pulumi/automation/server");
const { RunResponse } = require("@pulumi/pulumi/proto/language_pb");

// biome-ignore lint/suspicious/noExplicitAny: the generated messages have no types that can be imported.
type Answer = (error: Error | null | undefined, response?: any) => void;

/**
 * Ends an inline program of the automation API after an uncaught error, such as that of a look-up. The SDK
 * prints the error, and then waits for the registration of the resources that needed the value, for ever: it is made for
 * a process that ends when it has nothing to do (automation/server.js and `waitForRPCs` in runtime/settings.js).
 */
export function endFailedPrograms(): void {
  const run = LanguageServer.prototype.run;
  LanguageServer.prototype.run = function runUntilFailure(call: unknown, answer: Answer) {
    let isAnswered = false;
    const answerOnce: Answer = (error, response) => {
      if (isAnswered) return;
      isAnswered = true;
      answer(error, response);
    };
    run.call(this, call, answerOnce);
    // Runs after the SDK's own listeners, so that their message reaches the engine first.
    for (const event of ["unhandledRejection", "uncaughtException"])
      process.on(event, async () => {
        await pulumi.log.debug("the program has ended with an error that nobody has caught");
        // The engine stops without a message of its own.
        answerOnce(undefined, new RunResponse().setBail(true));
      });
  };
}
