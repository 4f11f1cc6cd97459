import time
def test_probe(ran, start_company):
    print(ran.outcome.out, ran.outcome.err[-3000:])
    t=time.time(); o=ran.company.handoff("run","--as-of",__import__("datetime").datetime.now().isoformat()[:0] or "2027-01-01"); print(time.time()-t, o.out, o.err[-1500:])
    t=time.time(); o=ran.company.handoff("doctor"); print(time.time()-t, o.out, o.err[-1500:])
