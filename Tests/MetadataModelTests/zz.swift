import Testing
@Test func zz() { for x in Samples.all { print("GOLD|\(x.name)|\(x.bytes.hex)") } }
