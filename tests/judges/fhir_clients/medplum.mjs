// @medplum/core, unchanged, against the address in argv[2]; prints what it got as one line of JSON.
import { ClientStorage, MedplumClient, MemoryStorage } from "@medplum/core";

const client = new MedplumClient({
  baseUrl: process.argv[2], fhirUrlPath: "fhir/R4", fetch, storage: new ClientStorage(new MemoryStorage()), cacheTime: 0,
});
const told = {};
const made = await client.createResource({ resourceType: "Patient", name: [{ family: "Med" }], identifier: [{ system: "urn:example:mrn", value: "med" }] });
const again = await client.createResourceIfNoneExist({ resourceType: "Patient" }, "identifier=urn:example:mrn|med");
told.sameByCondition = again.id === made.id;
told.updated = (await client.updateResource({ ...made, gender: "other" })).meta.versionId;
told.patched = (await client.patchResource("Patient", made.id, [{ op: "add", path: "/active", value: true }])).active;
for (let i = 0; i < 5; i++) await client.createResource({ resourceType: "Patient", name: [{ family: "Paged" }] });
told.searched = (await client.searchResources("Patient", { name: "Paged", _count: "2" })).length;
told.paged = 0;
for await (const page of client.searchResourcePages("Patient", { name: "Paged", _count: "2" })) told.paged += page.length;
const batch = await client.executeBatch({ resourceType: "Bundle", type: "batch", entry: [{ request: { method: "GET", url: `Patient/${made.id}` } }] });
told.batch = batch.entry[0].response.status.slice(0, 3);
try {
  await client.readResource("Patient", "nope");
} catch (error) {
  told.missing = error.outcome?.issue?.[0]?.code;
}
told.history = (await client.readHistory("Patient", made.id)).total;
console.log(JSON.stringify(told));
