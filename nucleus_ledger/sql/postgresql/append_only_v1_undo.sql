DROP TRIGGER IF EXISTS nucleus_ledger_entry_rows_v1 ON nucleus_ledger_entry
--------
DROP TRIGGER IF EXISTS nucleus_ledger_entry_truncate_v1 ON nucleus_ledger_entry
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_rows_v1 ON nucleus_ledger_stream
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_truncate_v1 ON nucleus_ledger_stream
--------
DROP FUNCTION IF EXISTS nucleus_ledger_entry_refuse_v1()
--------
DROP FUNCTION IF EXISTS nucleus_ledger_stream_refuse_v1()
