-- The constraints of the released tables, as they stand in the tables' own statements.
nucleus_ledger_stream_name UNIQUE ("name")
nucleus_ledger_stream_labels CHECK ((LENGTH("name") >= 1 AND LENGTH("ledger") >= 1))
nucleus_ledger_stream_head CHECK ((("head_hash" IS NULL AND "head_timestamp" IS NULL AND "length" = 0) OR ("head_hash" IS NOT NULL AND "head_timestamp" > 0 AND "head_timestamp" IS NOT NULL AND "length" > 0)))
nucleus_ledger_entry_sequence UNIQUE ("stream_id", "sequence")
nucleus_ledger_entry_record UNIQUE ("stream_id", "record_id")
nucleus_ledger_entry_hashes CHECK ((LENGTH("hash") = 32 AND ("prev_hash" IS NULL OR LENGTH("prev_hash") = 32)))
nucleus_ledger_entry_link CHECK ((("prev_hash" IS NULL AND "sequence" = 0) OR ("prev_hash" IS NOT NULL AND "sequence" > 0)))
nucleus_ledger_entry_ranges CHECK (("timestamp" > 0 AND "timestamp" <= 9007199254740991 AND LENGTH("record_id") >= 1 AND LENGTH("serialized") >= 1))
