DROP TRIGGER IF EXISTS nucleus_ledger_entry_update_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_entry_delete_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_entry_insert_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_update_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_delete_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_insert_v1
