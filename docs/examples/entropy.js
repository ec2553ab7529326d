#!/usr/bin/env -S gjs
// SPDX-FileCopyrightText: The libvhostd authors
// SPDX-License-Identifier: CC0-1.0
// The entropy device of my-device.c in JavaScript, for GJS.
//   gjs entropy.js --socket-path=/tmp/rng.sock --fail-every=3
imports.gi.versions.Vhost = '1';
const {Gio, GObject, Vhost} = imports.gi;
const random = Gio.File.new_for_path('/dev/urandom').read(null);

const Entropy = GObject.registerClass({
    Properties: {
        'fail-every': GObject.ParamSpec.uint('fail-every', 'fail-every',
            'Answer every Nth request with nothing (0: never)',
            GObject.ParamFlags.READWRITE, 0, 0xffffffff, 0),
    },
}, class Entropy extends Vhost.Backend {
    vfunc_process_chain(queue, chain) {
        this.seen = (this.seen ?? 0) + 1;
        let size = Math.min(chain.get_writable_size(), 256); // a driver asks again for the rest
        if (this.fail_every && this.seen % this.fail_every === 0)
            size = 0;
        chain.complete(size ? chain.write_bytes(random.read_bytes(size, null)) : 0);
    }
});
Entropy.set_device('rng', 4, 1);
Entropy.set_main_context_only(); // GJS refuses calls from worker threads

imports.system.exit(Vhost.Backend.main(Entropy.$gtype, [imports.system.programInvocationName, ...ARGV]));
