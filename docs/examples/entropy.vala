// SPDX-FileCopyrightText: The libvhostd authors
// SPDX-License-Identifier: CC0-1.0
// The entropy device of my-device.c in Vala.
//   valac --pkg libvhostd-1 entropy.vala && ./entropy --socket-path=/tmp/rng.sock --fail-every=3

[CCode (cname = "getrandom", cheader_filename = "sys/random.h")]
extern ssize_t getrandom (uint8[] buffer, uint flags);

public class Entropy : Vhost.Backend {
  [Description (nick = "fail-every", blurb = "Answer every Nth request with nothing (0: never)")]
  public uint fail_every { get; set; default = 0; }
  private int seen = 0;

  class construct {
    set_device ("rng", 4, 1);
  }

  // On a worker thread, once per request. 256 bytes at a time: a driver asks again for the rest.
  public override void process_chain (Vhost.Queue queue, Vhost.Chain chain) {
    uint number = (uint) AtomicInt.add (ref seen, 1) + 1;
    size_t size = size_t.min (chain.get_writable_size (), 256);
    uint8[] buffer = new uint8[size];
    if ((fail_every != 0 && number % fail_every == 0) || getrandom (buffer, 0) != (ssize_t) size)
      chain.complete (0);
    else
      chain.complete (chain.write_bytes (new Bytes.take ((owned) buffer)));
  }
}

int main (string[] args) {
  return Vhost.Backend.main (typeof (Entropy), args);
}
