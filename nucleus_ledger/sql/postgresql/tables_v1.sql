-- The columns and keys of the released tables: the table, and what the catalogue says of it.
nucleus_ledger_entry hash bytea NOT NULL
nucleus_ledger_entry stream_id bigint NOT NULL
nucleus_ledger_entry sequence bigint NOT NULL
nucleus_ledger_entry record_id character varying(200) NOT NULL
nucleus_ledger_entry timestamp bigint NOT NULL
nucleus_ledger_entry payload jsonb NOT NULL
nucleus_ledger_entry meta jsonb
nucleus_ledger_entry prev_hash bytea
nucleus_ledger_entry serialized text NOT NULL
nucleus_ledger_entry PRIMARY KEY (hash)
nucleus_ledger_entry FOREIGN KEY (stream_id) REFERENCES nucleus_ledger_stream(id) DEFERRABLE INITIALLY DEFERRED
nucleus_ledger_stream id bigint NOT NULL
nucleus_ledger_stream name character varying(200) NOT NULL
nucleus_ledger_stream ledger character varying(200) NOT NULL
nucleus_ledger_stream length bigint NOT NULL
nucleus_ledger_stream head_hash bytea
nucleus_ledger_stream head_timestamp bigint
nucleus_ledger_stream PRIMARY KEY (id)
