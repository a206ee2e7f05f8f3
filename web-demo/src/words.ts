/** Failures, from reply codes and exceptions to sentences a person can act on. */

/** Something that went wrong, in words. `code` is stable and meant for tests. */
export interface Problem {
  code: string;
  title: string;
  detail: string;
  /** What the page can offer besides the words. */
  help?: 'certificate' | 'microphone';
}

/** Why a call that `who` was on the other end of did not come about or broke, from the SIP reply (RFC 3261 section 21). */
export function callRefused(status: number, reason: string, who: string): Problem {
  switch (status) {
    case 401:
    case 407:
      return problem('unauthorized', 'The gateway asked for the password again', 'It refused the call for this account. Sign out and in again.');
    case 403:
      return problem('forbidden', 'This call is not allowed', `The gateway does not let this account call ${who}.`);
    case 404:
    case 604:
      return problem('not-found', 'Not found', `Nobody is called “${who}” here. Check the number or the name.`);
    case 408:
      return problem('no-answer', 'No answer', `${who} did not pick up.`);
    case 410:
      return problem('gone', 'No longer in use', `${who} cannot be reached at this address any more.`);
    case 430:
    case 480:
      return problem('offline', `${who} is offline`, 'No phone is signed in to that account right now, or it does not take calls.');
    case 482:
    case 483:
      return problem('loop', 'The call went in circles', 'A forwarding rule sends it back to where it came from.');
    case 484:
      return problem('incomplete', 'The number is incomplete', `Something is missing in “${who}”.`);
    case 486:
    case 600:
      return problem('busy', `${who} is busy`, 'Try again in a little while.');
    case 487:
      return problem('cancelled', 'Cancelled', 'The call was cancelled before it was answered.');
    case 415:
    case 488:
    case 606:
      return problem('no-common-codec', 'No common sound format', `The phone of ${who} and this browser share no codec.`);
    case 491:
      return problem('glare', 'Both sides changed the call at once', 'Try again.');
    case 503:
      return problem('unavailable', 'The gateway is overloaded', 'It takes no more calls at the moment.');
    case 603:
      return problem('declined', 'Declined', `${who} does not want to take the call.`);
    default:
      if (status >= 500) return problem('server-error', 'The gateway could not place the call', `It answered ${status} ${reason}.`.replace(' .', '.'));
      return problem('refused', 'The call was refused', `The answer was ${status} ${reason}.`.replace(' .', '.'));
  }
}

/** Why a call ended without a reply from the far end; `cause` is one of JsSIP's. Null for an ordinary end. */
export function callBroken(cause: string, who: string): Problem | null {
  switch (cause) {
    case 'Terminated':
    case 'Canceled':
    case 'Rejected':
      return null;
    case 'Connection Error':
      return problem('connection', 'The connection to the gateway broke', 'The call could not go on. The page is reconnecting by itself.');
    case 'Request Timeout':
      return problem('timeout', 'The gateway does not answer', 'It sent no reply in time.');
    case 'RTP Timeout':
      return problem('media-lost', 'The sound stopped', `No packets pass between this browser and ${who} any more.`);
    case 'No Answer':
    case 'Expires':
      return problem('no-answer', 'Not answered', 'It rang until the time was up.');
    case 'No ACK':
      return problem('no-ack', 'The call was answered but not confirmed', 'A confirmation of the far end got lost on the way.');
    case 'Bad Media Description':
    case 'Incompatible SDP':
    case 'Missing SDP':
    case 'WebRTC Error':
      return problem('media-refused', 'The browser could not use the answer', `It did not understand how ${who} wants to exchange sound.`);
    default:
      return problem('broken', 'The call broke off', `Reason: ${cause}.`);
  }
}

/** Why the microphone or the camera could not be opened (Media Capture and Streams, section 10.2). */
export function captureFailed(error: unknown, video: boolean): Problem {
  const device = video ? 'camera or microphone' : 'microphone';
  const name = error instanceof Error ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return {
        ...problem('microphone-refused', `The ${device} is blocked`, `Allow it for this page: press the icon left of the address, set ${video ? 'camera and microphone' : 'microphone'} to “allow”, then try again.`),
        help: 'microphone',
      };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return { ...problem('no-microphone', `No ${device} found`, 'Plug one in, or choose another in the settings.'), help: 'microphone' };
    case 'NotReadableError':
    case 'AbortError':
      return { ...problem('microphone-busy', `The ${device} is in use`, 'Another program holds it. Close that one and try again.'), help: 'microphone' };
    case 'InsecureContextError':
      return { ...problem('insecure', 'This page has no access to the microphone', 'Browsers give it to pages over HTTPS only. Open this page with https://.'), help: 'certificate' };
    default:
      return { ...problem('microphone-failed', `The ${device} could not be opened`, String(error)), help: 'microphone' };
  }
}

/** Why the registrar refused; null when it is worth trying again without the person. */
export function registrationRefused(status: number, reason: string, user: string, byToken = false): Problem | null {
  switch (status) {
    case 401:
    case 403:
    case 407:
      if (byToken) return problem('token-refused', 'The sign-in has ended', `The gateway did not accept what signed “${user}” in. Open this page from your application again.`);
      return problem('wrong-password', 'User or password is wrong', `The gateway did not accept “${user}” with this password.`);
    case 404:
    case 604:
      return problem('unknown-user', 'No such account', `The gateway does not know “${user}” in this domain.`);
    case 400:
    case 405:
    case 416:
    case 420:
    case 484:
      return problem('registration-refused', 'The gateway refused to sign in', `It answered ${status} ${reason}.`);
    default:
      return null;
  }
}

/** The registrar answered with an error that may pass, or not at all (`status` 0). */
export function registrationDelayed(status: number, reason: string): Problem {
  if (status === 0) return problem('registrar-silent', 'The gateway does not answer', 'The connection is there, but nothing came back.');
  return problem('registrar-error', 'The gateway cannot sign you in right now', `It answered ${status} ${reason}.`);
}

/** The WebSocket could not be opened, or closed; `pageReachable` tells whether a plain request got through meanwhile. */
export function connectionLost(pageReachable: boolean, wasConnected: boolean): Problem {
  if (pageReachable && !wasConnected) {
    return {
      ...problem('websocket-refused', 'The browser does not open the secure connection', 'The page loads, but the connection for calls is refused. Most often the certificate is not trusted yet.'),
      help: 'certificate',
    };
  }
  if (pageReachable) return problem('websocket-lost', 'The connection was interrupted', 'The gateway is there; the page signs in again by itself.');
  return problem('server-gone', 'The gateway cannot be reached', 'It may be restarting, or this computer is offline.');
}

/** What was typed is no address that could be called. */
export function badTarget(typed: string): Problem {
  return problem('bad-target', 'That is no number or name', `“${typed}” cannot be called. Try a number, a name, or name@domain.`);
}

/** Shorthand for a problem that has words only. */
export function problem(code: string, title: string, detail: string): Problem {
  return { code, title, detail };
}
