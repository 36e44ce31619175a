// Judges R4 resources by npm `fhir`: one JSON resource a line in, one line of [[location, message], ...] out.
"use strict";
const { Fhir, Versions, ParseConformance } = require("fhir");
const readline = require("readline");

const fhir = new Fhir(new ParseConformance(true, Versions.R4));
readline.createInterface({ input: process.stdin, terminal: false }).on("line", (line) => {
  let found;
  try {
    const response = fhir.validate(JSON.parse(line), { errorOnUnexpected: true });
    found = response.messages
      .filter((message) => message.severity === "error" || message.severity === "fatal")
      .map((message) => [message.location, message.message]);
  } catch (error) {
    found = [["", `the judge failed: ${error.message}`]];
  }
  process.stdout.write(JSON.stringify(found) + "\n");
});
