// fhir-kit-client, unchanged, against the address in argv[2]; prints what it got as one line of JSON.
(async () => {
  const K = await import("fhir-kit-client");
  const Client = K.default?.default || K.default || K.Client;
  const client = new Client({ baseUrl: process.argv[2] });
  const told = {};
  told.version = (await client.capabilityStatement()).fhirVersion;
  const body = { resourceType: "Patient", name: [{ family: "Kit" }], identifier: [{ system: "urn:example:mrn", value: "kit" }] };
  const made = await client.create({ resourceType: "Patient", body });
  const again = await client.create({
    resourceType: "Patient", body: { resourceType: "Patient" },
    options: { headers: { "If-None-Exist": "identifier=urn:example:mrn|kit" } },
  });
  told.sameByCondition = again.id === made.id;
  try {
    await client.update({ resourceType: "Patient", id: made.id, body: made, options: { headers: { "If-Match": 'W/"9"' } } });
  } catch (error) {
    told.stale = [error.response?.status, error.response?.data?.resourceType];
  }
  for (let i = 0; i < 5; i++) await client.create({ resourceType: "Patient", body: { resourceType: "Patient", name: [{ family: "Paged" }] } });
  let page = await client.search({ resourceType: "Patient", searchParams: { name: "Paged", _count: 2 } });
  told.paged = 0;
  while (page) {
    told.paged += page.entry.length;
    page = await client.nextPage({ bundle: page });
  }
  told.posted = (await client.search({ resourceType: "Patient", searchParams: { name: "Paged" }, options: { postSearch: true } })).total;
  const transaction = await client.transaction({
    body: {
      resourceType: "Bundle", type: "transaction",
      entry: [
        { request: { method: "POST", url: "Patient", ifNoneExist: "identifier=urn:example:mrn|kit" }, resource: { resourceType: "Patient" } },
        { request: { method: "PUT", url: "Patient/abc" }, resource: { resourceType: "Patient", id: "abc" } },
      ],
    },
  });
  told.transaction = transaction.entry.map((one) => one.response.status.slice(0, 3));
  told.patched = (await client.patch({ resourceType: "Patient", id: "abc", jsonPatch: [{ op: "add", path: "/active", value: true }] })).active;
  told.history = (await client.history({ resourceType: "Patient", id: "abc" })).total;
  console.log(JSON.stringify(told));
})();
