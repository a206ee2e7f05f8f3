/** Tells of a call while the page is hidden, when the person allowed notifications. */
export function announceIncoming(name: string): void {
  if (!document.hidden || !canNotify() || Notification.permission !== 'granted') return;
  try {
    const notification = new Notification(`${name} is calling`, { icon: '/favicon.svg', tag: 'causeway-call', requireInteraction: true });
    notification.onclick = () => {
      window.focus();
      notification.close();
    };
  } catch (error) {
    // Chrome on Android has the class, but lets only service workers use it.
    console.warn('no notification', error);
  }
}

export function canNotify(): boolean {
  return 'Notification' in window;
}
