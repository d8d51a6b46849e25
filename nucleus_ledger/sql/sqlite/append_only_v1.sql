-- Append-only guards, version 1 for SQLite. Released SQL is frozen: a change is a version 2.
-- One statement up to each line of dashes. They stop accidents and careless code; whoever can
-- write the file can drop them, which is why evidence is kept outside the database.
CREATE TRIGGER nucleus_ledger_entry_update_v1 BEFORE UPDATE ON nucleus_ledger_entry
BEGIN
  SELECT RAISE(ABORT, 'nucleus_ledger: entries are append-only, UPDATE refused');
END
--------
CREATE TRIGGER nucleus_ledger_entry_delete_v1 BEFORE DELETE ON nucleus_ledger_entry
BEGIN
  SELECT RAISE(ABORT, 'nucleus_ledger: entries are append-only, DELETE refused');
END
--------
CREATE TRIGGER nucleus_ledger_entry_insert_v1 BEFORE INSERT ON nucleus_ledger_entry
WHEN EXISTS (SELECT 1 FROM nucleus_ledger_entry WHERE hash = NEW.hash)
  OR EXISTS (SELECT 1 FROM nucleus_ledger_entry
             WHERE stream_id = NEW.stream_id AND sequence = NEW.sequence)
  OR EXISTS (SELECT 1 FROM nucleus_ledger_entry
             WHERE stream_id = NEW.stream_id AND record_id = NEW.record_id)
  OR EXISTS (SELECT 1 FROM nucleus_ledger_entry WHERE rowid = NEW.rowid)
BEGIN
  SELECT RAISE(ABORT, 'nucleus_ledger: entries are append-only, replacing one refused');
END
--------
CREATE TRIGGER nucleus_ledger_stream_update_v1 BEFORE UPDATE ON nucleus_ledger_stream
WHEN NEW.id IS NOT OLD.id OR NEW.name IS NOT OLD.name OR NEW.ledger IS NOT OLD.ledger
  OR NEW.length < OLD.length
BEGIN
  SELECT RAISE(ABORT, 'nucleus_ledger: streams only grow, UPDATE refused');
END
--------
CREATE TRIGGER nucleus_ledger_stream_delete_v1 BEFORE DELETE ON nucleus_ledger_stream
BEGIN
  SELECT RAISE(ABORT, 'nucleus_ledger: streams only grow, DELETE refused');
END
--------
CREATE TRIGGER nucleus_ledger_stream_insert_v1 BEFORE INSERT ON nucleus_ledger_stream
WHEN EXISTS (SELECT 1 FROM nucleus_ledger_stream WHERE name = NEW.name OR id = NEW.id)
BEGIN
  SELECT RAISE(IGNORE);
END
