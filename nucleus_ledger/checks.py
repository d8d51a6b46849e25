from nucleus_ledger import guards
