//! That both sides do the same work: equal bytes to read, equal rows written.

use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use serde_json::Value;

use crate::{
    database, http,
    processes::{Server, Store},
    sample::{self, NEW},
};

/// All that is kept of one profile but ids and times, as one JSON value.
const POSTGRES: &str = "SELECT jsonb_build_object('properties', e.properties, 'name', e.name_key, 'version', e.version,
    'revision', e.rules_revision, 'superseded', e.superseded, 'deleted', e.deleted_at,
    'source', e.provenance -> 0 -> 0, 'fields', e.provenance -> 0 -> 2, 'groups', json_array_length(e.provenance),
    'keys', (SELECT jsonb_agg(v.key ORDER BY v.key) FROM entity_values AS v WHERE v.tenant = e.tenant AND v.entity = e.id),
    'emails', (SELECT jsonb_agg(p.email_key) FROM profile_emails AS p WHERE p.tenant = e.tenant AND p.reference = e.reference),
    'feed', (SELECT jsonb_agg(jsonb_build_array(f.type, f.reference = e.reference, f.kind, f.version, f.changes))
        FROM feed AS f WHERE f.tenant = e.tenant AND f.entity = e.id))::text
FROM entities AS e WHERE e.tenant = 'default' AND e.type = 'profile' AND e.reference = $1";
const SQLITE: &str = "SELECT json_object('properties', json(e.properties), 'name', e.name_key, 'version', e.version,
    'revision', e.rules_revision, 'superseded', e.superseded, 'deleted', e.deleted_at,
    'source', json(e.provenance -> 0 -> 0), 'fields', json(e.provenance -> 0 -> 2), 'groups', json_array_length(e.provenance),
    'keys', (SELECT json_group_array(v.key ORDER BY v.key) FROM entity_values AS v WHERE v.tenant = e.tenant AND v.entity = e.id),
    'emails', (SELECT json_group_array(p.email_key) FROM profile_emails AS p WHERE p.tenant = e.tenant AND p.reference = e.reference),
    'feed', (SELECT json_group_array(json_array(f.type, f.reference = e.reference, f.kind, f.version, json(f.changes)))
        FROM feed AS f WHERE f.tenant = e.tenant AND f.entity = e.id))
FROM entities AS e WHERE e.tenant = 'default' AND e.type = 'profile' AND e.reference = ?1";

/// Creates the same profile on both sides and compares what they answer and what they keep.
pub(crate) fn same_rows(ours: (Server, &Store), bare: (Server, &Store)) -> Result<()> {
    let request = http::send("POST", "/api/v1/profiles", &sample::document(NEW - 1));
    let written = |(server, store): (Server, &Store)| -> Result<(Value, Value)> {
        let mut answer: Value = serde_json::from_slice(&http::once(server.address, &request, 201)?)?;
        let id = answer["id"].as_str().context("an answer without an id")?.to_owned();
        for own in ["id", "created_at", "updated_at"] {
            answer[own] = Value::Null;
        }
        Ok((answer, kept(store, &id)?))
    };
    let (ours, bare) = (written(ours)?, written(bare)?);
    if ours != bare {
        bail!("the bare program doesn't write what the service does:\n{}\n{}\n{}\n{}", ours.0, bare.0, ours.1, bare.1);
    }
    Ok(())
}

fn kept(store: &Store, id: &str) -> Result<Value> {
    let json: String = match store {
        Store::Sqlite(folder) => {
            let connection = Connection::open(Store::sqlite_file(folder))?;
            connection.query_row(SQLITE, [id], |row| row.get(0))?
        }
        Store::Postgres(database) => {
            database::with_client(database, async |client| Ok(client.query_one(POSTGRES, &[&id]).await?.get(0)))?
        }
    };
    Ok(serde_json::from_str(&json)?)
}

/// Compares the answers to one request, up to a text that only one side can know what follows.
pub(crate) fn same_bytes(request: &[u8], until: Option<&str>, ours: Server, bare: Server) -> Result<usize> {
    let answer = |server: Server| -> Result<String> {
        let mut body = String::from_utf8(http::once(server.address, request, 200)?)?;
        if let Some(end) = until.and_then(|until| body.find(until)) {
            body.truncate(end);
        }
        Ok(body)
    };
    let (ours, bare) = (answer(ours)?, answer(bare)?);
    if ours != bare {
        let start = |text: &str| text.chars().take(1_200).collect::<String>();
        bail!("the bare program doesn't answer what the service does:\n{}\n{}", start(&ours), start(&bare));
    }
    Ok(ours.len())
}
