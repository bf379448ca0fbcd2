// Takes and releases a lock with a client whose types were generated from openapi.yaml: see
// scripts/clients. The argument is the URL of a node.
import createClient from "openapi-fetch";
import type { paths } from "./lockapi.js";

const client = createClient<paths>({ baseUrl: process.argv[2] });
const key = "generated/ts";
const path = { key };
const clientId = "generated-ts";

function fail(what: string, ...details: unknown[]): never {
  console.error(what, ...details.map((d) => JSON.stringify(d)));
  process.exit(1);
}

const acquired = await client.POST("/v1/locks/{key}", {
  params: { path },
  body: { clientId, ttl: "30s", metadata: { why: "test" } },
});
const hold = acquired.data?.hold;
if (!hold || hold.key !== key || hold.clientId !== clientId) {
  fail("acquire:", acquired.error, acquired.data);
}

const got = await client.GET("/v1/locks/{key}", { params: { path } });
if (got.data?.lock?.holds?.[0]?.token !== hold.token) {
  fail("get:", got.error, got.data);
}

// A lock that is held is an error with a reason.
const held = await client.POST("/v1/locks/{key}", { params: { path }, body: { clientId, wait: "0s" } });
if (held.response.status !== 409 || held.error?.error.reason !== "LOCK_HELD") {
  fail("acquire a lock that is held:", held.error, held.data);
}

const released = await client.DELETE("/v1/locks/{key}", { params: { path, query: { token: hold.token } } });
if (released.error) {
  fail("release:", released.error);
}
console.log(`a client in TypeScript took and released ${key} with token ${hold.token}`);
