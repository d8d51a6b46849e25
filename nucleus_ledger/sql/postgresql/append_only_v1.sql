-- Append-only guards, version 1 for PostgreSQL. Released SQL is frozen: a change is a version 2.
-- One statement up to each line of dashes. They stop accidents and careless code; the owner of
-- the tables can drop them, which is why evidence is kept outside the database.
CREATE OR REPLACE FUNCTION nucleus_ledger_entry_refuse_v1() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    RAISE EXCEPTION 'nucleus_ledger: entries are append-only, TRUNCATE refused' USING ERRCODE = '23001',
      HINT = 'Of a test suite: set TEST_RUNNER = "nucleus_ledger.testing.runner.LedgerRunner", '
        'or mix LedgerTestRunnerMixin into your own; pytest needs its plugin nucleus_ledger.';
  END IF;
  RAISE EXCEPTION 'nucleus_ledger: entries are append-only, % refused', TG_OP USING ERRCODE = '23001';
END;
$guard$
--------
CREATE OR REPLACE FUNCTION nucleus_ledger_stream_refuse_v1() RETURNS trigger LANGUAGE plpgsql AS $guard$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF NEW.id = OLD.id AND NEW.name = OLD.name AND NEW.ledger = OLD.ledger
       AND NEW.length >= OLD.length THEN
      RETURN NEW;
    END IF;
  END IF;
  IF TG_OP = 'TRUNCATE' THEN
    RAISE EXCEPTION 'nucleus_ledger: streams only grow, TRUNCATE refused' USING ERRCODE = '23001',
      HINT = 'Of a test suite: set TEST_RUNNER = "nucleus_ledger.testing.runner.LedgerRunner", '
        'or mix LedgerTestRunnerMixin into your own; pytest needs its plugin nucleus_ledger.';
  END IF;
  RAISE EXCEPTION 'nucleus_ledger: streams only grow, % refused', TG_OP USING ERRCODE = '23001';
END;
$guard$
--------
DROP TRIGGER IF EXISTS nucleus_ledger_entry_rows_v1 ON nucleus_ledger_entry
--------
CREATE TRIGGER nucleus_ledger_entry_rows_v1 BEFORE UPDATE OR DELETE ON nucleus_ledger_entry
  FOR EACH ROW EXECUTE FUNCTION nucleus_ledger_entry_refuse_v1()
--------
ALTER TABLE nucleus_ledger_entry ENABLE ALWAYS TRIGGER nucleus_ledger_entry_rows_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_entry_truncate_v1 ON nucleus_ledger_entry
--------
CREATE TRIGGER nucleus_ledger_entry_truncate_v1 BEFORE TRUNCATE ON nucleus_ledger_entry
  FOR EACH STATEMENT EXECUTE FUNCTION nucleus_ledger_entry_refuse_v1()
--------
ALTER TABLE nucleus_ledger_entry ENABLE ALWAYS TRIGGER nucleus_ledger_entry_truncate_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_rows_v1 ON nucleus_ledger_stream
--------
CREATE TRIGGER nucleus_ledger_stream_rows_v1 BEFORE UPDATE OR DELETE ON nucleus_ledger_stream
  FOR EACH ROW EXECUTE FUNCTION nucleus_ledger_stream_refuse_v1()
--------
ALTER TABLE nucleus_ledger_stream ENABLE ALWAYS TRIGGER nucleus_ledger_stream_rows_v1
--------
DROP TRIGGER IF EXISTS nucleus_ledger_stream_truncate_v1 ON nucleus_ledger_stream
--------
CREATE TRIGGER nucleus_ledger_stream_truncate_v1 BEFORE TRUNCATE ON nucleus_ledger_stream
  FOR EACH STATEMENT EXECUTE FUNCTION nucleus_ledger_stream_refuse_v1()
--------
ALTER TABLE nucleus_ledger_stream ENABLE ALWAYS TRIGGER nucleus_ledger_stream_truncate_v1
