def write_report(records, target, command):
    pass
